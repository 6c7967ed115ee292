"""Settings: where they come from, which one wins, and what is refused with which words."""

import os
from pathlib import Path

import pytest

from streamer.cli.app import load_settings
from streamer.config import Settings, load, mask_url, parse_assignments
from streamer.config.parts import PARTS
from streamer.errors import ConfigError
from streamer.pipeline import switchable


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAMER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "streamer.toml"
    path.write_text('k = 5\ngroup = "file"\nprefix = "file:"\n[kafka_config]\n"a.b" = 1\n"c.d" = true\n')
    return path


def test_flags_beat_environment_beats_file_beats_defaults(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer covers those below it, and every value knows where it came from."""
    monkeypatch.setenv("STREAMER_K", "6")
    monkeypatch.setenv("STREAMER_GROUP", "environment")
    loaded = load({"k": "7", "repeats": None}, config_file)
    assert (loaded.settings.k, loaded.settings.group, loaded.settings.prefix) == (7, "environment", "file:")
    assert loaded.settings.list_ttl_s == 2_592_000
    origins = {name: loaded.origins[name] for name in ("k", "group", "prefix", "list_ttl_s", "repeats")}
    assert origins == {
        "k": "flag",
        "group": "environment STREAMER_GROUP",
        "prefix": f"file {config_file}",
        "list_ttl_s": "default",
        "repeats": "default",
    }


def test_librdkafka_properties_are_merged_and_become_texts(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kafka_config` is merged entry by entry; TOML's numbers and booleans become what librdkafka reads."""
    monkeypatch.setenv("STREAMER_KAFKA_CONFIG", '{"a.b": "2", "e.f": "x=y"}')
    flags = parse_assignments(["kafka_config.e.f=p=q"])
    assert load(flags, config_file).settings.kafka_config == {"a.b": "2", "c.d": "true", "e.f": "p=q"}


def test_the_file_can_be_named_by_the_environment(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMER_CONFIG names the file when no flag does; it is no setting itself."""
    monkeypatch.setenv("STREAMER_CONFIG", str(config_file))
    assert load().settings.k == 5


def test_switches_of_the_tests_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMER_TEST_* may be set while streamer runs."""
    monkeypatch.setenv("STREAMER_TEST_KAFKA", "x")
    assert load().settings == Settings()


def test_what_kubernetes_sets_for_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named streamer with the ports 9464 (metrics) and 53 (UDP): the pod starts, and typos are still reported."""
    for name in (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_METRICS",
        "SERVICE_PORT_MY_DNS_2",
        "PORT",
        *(
            f"PORT_{port}{part}"
            for port in ("9464_TCP", "53_UDP")
            for part in ("", "_PROTO", "_PORT", "_ADDR")
        ),
    ):
        monkeypatch.setenv(f"STREAMER_{name}", "tcp://10.0.0.7:9464")
    assert load().settings == Settings()
    for name in ("SERVICE", "SERVICE_PORTS", "PORTS", "PORT_9464", "PORT_METRICS", "METRIC_PORT"):
        with monkeypatch.context() as one:
            one.setenv(f"STREAMER_{name}", "1")
            with pytest.raises(ConfigError, match=f"STREAMER_{name} is no setting"):
                load()


def test_what_kubernetes_sets_for_other_services_of_ours_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Services named streamer-redis, -kafka, -worker and -metrics: the last one's port has the name of a setting."""
    for name in (
        "REDIS_SERVICE_HOST",
        "REDIS_PORT",
        "KAFKA_PORT_9092_TCP",
        "REDIS_MASTER_SERVICE_PORT_TCP_REDIS",
        "WORKER_SERVICE_HOST",
        "METRICS_PORT",
        "METRICS_PORT_9464_TCP_ADDR",
    ):
        monkeypatch.setenv(f"STREAMER_{name}", "tcp://10.0.0.7:9464")
    assert load().settings == Settings()
    monkeypatch.setenv("STREAMER_METRICS_PORT", "9999")
    assert load().settings.metrics_port == 9999


def test_settings_made_directly_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load` looks at the environment."""
    monkeypatch.setenv("STREAMER_K", "6")
    assert Settings().k == 20


def test_an_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is reported, not ignored."""
    monkeypatch.setenv("STREAMER_KAFAK", "localhost:9092")
    with pytest.raises(ConfigError, match=r"STREAMER_KAFAK is no setting; did you mean STREAMER_KAFKA\?"):
        load()


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt name in the file is reported, with the file."""
    path = tmp_path / "wrong.toml"
    path.write_text("repeat = true\n")
    with pytest.raises(ConfigError, match=r"wrong\.toml: 'repeat' is no setting; did you mean repeats\?"):
        load(None, path)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("max_bach=3", "did you mean max_batch?"),
        ("k", "expected name=value, got 'k'"),
        ("=3", "is no setting"),
    ],
)
def test_wrong_assignments_are_refused(assignment: str, words: str) -> None:
    """`--set` takes a known name and a value."""
    with pytest.raises(ConfigError) as caught:
        parse_assignments([assignment])
    assert words in str(caught.value)


@pytest.mark.parametrize("assignment", ["redis_config.password hunter2", "redis_config.password:hunter2"])
def test_what_may_be_a_secret_is_not_repeated(assignment: str) -> None:
    """An assignment without its `=` may have a password behind the name."""
    with pytest.raises(ConfigError, match=r"redis_config\.password") as caught:
        parse_assignments([assignment])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("repeats", "ture", ["repeats:", "boolean", "'ture'", "(from flag)"]),
        ("repeats", 2, ["repeats: expected true or false"]),
        ("k", True, ["k: expected a value, not true or false"]),
        ("k", "many", ["k: expected a valid integer", "'many'"]),
        ("k", "0", ["k: expected greater than or equal to 1"]),
        ("measure_share", "nan", ["measure_share: expected a finite number"]),
        ("measure_share", "1.5", ["measure_share: expected less than or equal to 1"]),
        ("n_neighbours", "100", ["n_neighbours: expected a multiple of 16"]),
        ("metrics_port", "70000", ["metrics_port: expected less than or equal to 65535"]),
        ("on_log_gap", "panic", ["on_log_gap: expected 'continue' or 'stop'", "'panic'"]),
        ("topic_catalog", "a topic", ["topic_catalog: String should match pattern"]),
        ("topic_catalog", "profiles", ["topic_catalog and topic_profiles are both 'profiles'"]),
        ("kafka", "localhost", ["kafka: expected HOST:PORT[,HOST:PORT...] (from flag)"]),
        ("kafka", "localhost:99999", ["kafka: expected HOST:PORT"]),
        ("kafka", "localhost:0", ["kafka: expected HOST:PORT"]),
        ("kafka", "", ["kafka: expected HOST:PORT"]),
        ("redis", "http://localhost", ["redis: expected redis://"]),
        ("redis", "localhost:6379", ["redis: expected redis://"]),
        ("redis", "redis://localhost/main", ["the database is a number"]),
        ("kafka_config", {"group.id": "x"}, ["group.id cannot be set here: use the setting group"]),
        ("kafka_config", {"enable.auto.commit": "true"}, ["the runner commits"]),
        ("redis_config", {"ssl_ca_cert": "x"}, ["redis_config: 'ssl_ca_cert' is none of", "ssl_ca_certs"]),
        (
            "redis_config",
            {"ssl_cert_reqs": "maybe"},
            ["ssl_cert_reqs: expected 'none', 'optional' or 'required'"],
        ),
        ("redis_config", {"socket_timeout": True}, ["socket_timeout: expected a value, not true or false"]),
        ("redis_config", {"ssl_check_hostname": 2}, ["ssl_check_hostname: expected true or false"]),
        ("redis", "redis://ann:12?3@h", ["write %40 for @"]),
    ],
)
def test_values_are_refused_in_a_sentence(name: str, value: object, words: list[str]) -> None:
    """A value that cannot be used is a ConfigError that says what was expected, what came and where from."""
    with pytest.raises(ConfigError) as caught:
        load({name: value})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "value",
    [
        "redis://u:hunter2@:x/0",
        "http://u:hunter2@h",
        "redis://:hunter2@h:1/x",
        "redis://a:hunter2@[::1",
        "hunter2",
        "redis://ann:12?hunter2@h",
        "redis://ann:12#hunter2@h",
    ],
)
def test_a_refused_redis_url_is_not_repeated(value: str) -> None:
    """An error never shows what may be a password."""
    with pytest.raises(ConfigError) as caught:
        load({"redis": value})
    assert "hunter2" not in str(caught.value)


def test_refused_librdkafka_properties_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither are they when the variable is no JSON at all."""
    monkeypatch.setenv("STREAMER_KAFKA_CONFIG", '{"sasl.password": "hunter2"')
    with pytest.raises(ConfigError, match="expected a JSON object") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    """repr, str and `public` hide passwords and keys, and nothing else."""
    settings = Settings(
        redis="redis://ann:hunter2@host:6380/1?password=hunter2&ssl_cert_reqs=none",
        kafka_config={"sasl.password": "hunter2", "sasl.username": "ann", "ssl.key.pem": "hunter2"},
    )
    for text in (repr(settings), str(settings), f"{settings.public()}"):
        assert "hunter2" not in text
        assert "redis://ann:***@host:6380/1?password=***&ssl_cert_reqs=none" in text
        assert "'sasl.username': 'ann'" in text


def test_a_secret_in_the_url_of_checkpoints_is_masked() -> None:
    """A bucket's URL may hold one; a directory is shown as it is."""
    assert "hush" not in repr(Settings(checkpoint_url="s3://key:hush@bucket/x"))
    assert Settings(checkpoint_url="/var/lib/streamer").public()["checkpoint_url"] == "/var/lib/streamer"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://:pw@host", "redis://:***@host"),
        ("redis://token@host", "redis://***@host"),
        ("unix:///tmp/redis.sock?db=1", "unix:///tmp/redis.sock?db=1"),
        ("s3://key:se/cr?et@bucket/x", "s3://key:***@bucket/x"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://key:***@bucket/x"),
        ("abfs://box/x?sig=abc&v=1", "abfs://box/x?sig=***&v=1"),
        ("/var/lib/streamer", "/var/lib/streamer"),
    ],
)
def test_urls_are_masked(url: str, masked: str) -> None:
    """What may be secret goes, the rest stays."""
    assert mask_url(url) == masked


def test_every_setting_says_what_it_means() -> None:
    """`check` and `--help` show the descriptions; quantities have their unit in the name or the text."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if name.endswith(("_s", "_ms")):
            assert "second" in field.description, name


def test_settings_cannot_be_changed() -> None:
    """Settings are parsed once: nothing changes them afterwards."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().k = 3  # type: ignore[misc]


def test_the_fold_gets_its_part() -> None:
    """`fold` hands over what the core knows, and the defaults of the two agree."""
    from streamer.graph import FoldSettings

    assert Settings(text_model="none").fold() == FoldSettings()
    assert Settings().fold() == FoldSettings(text_model=Settings().text_model)
    chosen = Settings(repeats=True, max_items=1000, text_model="none")
    assert chosen.fold() == FoldSettings(repeats=True, max_items=1000)


def test_what_run_needs_is_asked_for_in_a_sentence() -> None:
    """Without Kafka or Redis the error names the flag and the variable."""
    with pytest.raises(ConfigError, match=r"--kafka HOST:PORT or STREAMER_KAFKA"):
        Settings().require_kafka()
    with pytest.raises(ConfigError, match=r"STREAMER_REDIS"):
        Settings().require_redis()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or not TOML."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        load(None, tmp_path / "nowhere.toml")
    path = tmp_path / "broken.toml"
    path.write_text("k 5")
    with pytest.raises(ConfigError, match=r"broken\.toml: expected TOML"):
        load(None, path)


def test_what_is_switched_off_is_a_list_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas in flags and environment, a list in TOML; nothing is nothing."""
    expected = ("vectors", "text")
    assert load({"without": "vectors, text"}).settings.without == expected
    (tmp_path / "s.toml").write_text('without = ["vectors", "text"]')
    assert load({}, tmp_path / "s.toml").settings.without == expected
    assert load({"without": ""}).settings.without == ()
    monkeypatch.setenv("STREAMER_WITHOUT", "vectors,text")
    assert load().settings.without == expected


def test_a_part_that_there_is_not_is_told_with_what_was_meant() -> None:
    """Before anything is loaded or connected; the parts are those that the model has, each once."""
    assert len(set(PARTS)) == len(PARTS)
    assert set(PARTS) == set(switchable())
    assert load({"without": ",".join(PARTS)}).settings.without == PARTS
    with pytest.raises(
        ConfigError, match=r"without: expected some of sequence, .*; got rankr; did you mean ranker\?"
    ):
        load({"without": "vectors,rankr"})


def test_options_of_redis_come_from_all_layers_and_get_their_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`redis_config` is merged entry by entry; texts of flags and the environment become numbers and booleans."""
    path = tmp_path / "s.toml"
    path.write_text('redis = "rediss://h"\n[redis_config]\nssl_ca_certs = "ca.pem"\nsocket_timeout = 2\n')
    monkeypatch.setenv("STREAMER_REDIS_CONFIG", '{"username": "ann", "socket_timeout": "1.5"}')
    flags = parse_assignments(["redis_config.ssl_check_hostname=false"])
    expected = {
        "ssl_ca_certs": "ca.pem",
        "username": "ann",
        "socket_timeout": 1.5,
        "ssl_check_hostname": False,
    }
    assert load(flags, path).settings.redis_config == expected


def test_options_of_tls_without_tls_are_refused() -> None:
    """A CA that nobody looks at is a setting that does nothing."""
    with pytest.raises(ConfigError, match=r"redis_config.ssl_ca_certs .* must begin with rediss://"):
        load({"redis": "redis://h", "redis_config": {"ssl_ca_certs": "ca.pem"}})


def test_secrets_may_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMER_<NAME>_FILE and `{ file = PATH }` stand for what the file holds, less the end of its line."""
    (tmp_path / "url").write_text("redis://:hunter2@h:1/0\n")
    (tmp_path / "password").write_text(" pass word\r\n")
    (tmp_path / "redis.json").write_text('{"password": "hunter3"}')
    monkeypatch.setenv("STREAMER_REDIS_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("STREAMER_REDIS_CONFIG_FILE", str(tmp_path / "redis.json"))
    (tmp_path / "s.toml").write_text(
        f'checkpoint_url = {{ file = "{tmp_path}/url" }}\n'
        f'[kafka_config]\n"sasl.password" = {{ file = "{tmp_path}/password" }}\n'
    )
    loaded = load({}, tmp_path / "s.toml")
    assert loaded.settings.redis == loaded.settings.checkpoint_url == "redis://:hunter2@h:1/0"
    assert loaded.settings.kafka_config == {"sasl.password": " pass word"}
    assert loaded.settings.redis_config == {"password": "hunter3"}
    assert loaded.origins["redis"] == "environment STREAMER_REDIS_FILE"
    monkeypatch.delenv("STREAMER_REDIS_CONFIG_FILE")
    monkeypatch.setenv("STREAMER_REDIS_CONFIG", f'{{"password": {{"file": "{tmp_path}/password"}}}}')
    assert load().settings.redis_config == {"password": " pass word"}


def test_a_secret_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing, is no text or no JSON is named with its setting; nothing of it is shown."""
    (tmp_path / "bytes").write_bytes(b"hunter2\xff")
    (tmp_path / "text").write_text("hunter2")
    monkeypatch.setenv("STREAMER_REDIS_FILE", "/nowhere/redis")
    with pytest.raises(
        ConfigError, match="STREAMER_REDIS_FILE: the file /nowhere/redis cannot be read: No such"
    ):
        load()
    monkeypatch.setenv("STREAMER_REDIS_FILE", str(tmp_path / "bytes"))
    with pytest.raises(ConfigError, match="it is not UTF-8 text") as caught:
        load()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("STREAMER_REDIS_FILE", "redis://:hunter2@h:1/0")
    with pytest.raises(ConfigError, match="expected its path, not the secret itself") as caught:
        load()
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("STREAMER_REDIS_FILE")
    monkeypatch.setenv("STREAMER_REDIS_CONFIG_FILE", str(tmp_path / "text"))
    with pytest.raises(ConfigError, match="STREAMER_REDIS_CONFIG_FILE: expected a JSON object") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_a_setting_and_its_file_are_not_given_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them would be ignored."""
    monkeypatch.setenv("STREAMER_REDIS", "redis://h")
    monkeypatch.setenv("STREAMER_REDIS_FILE", str(tmp_path))
    with pytest.raises(ConfigError, match="STREAMER_REDIS and STREAMER_REDIS_FILE: give one of them"):
        load()


@pytest.mark.parametrize("mapping", ["kafka_config", "redis_config"])
def test_a_mapping_as_a_whole_and_by_name_is_refused(mapping: str) -> None:
    """An entry cannot be put into what is no table of entries."""
    with pytest.raises(ConfigError, match=rf"{mapping}\.NAME=value"):
        parse_assignments([f"{mapping}={{}}", f"{mapping}.security.protocol=ssl"])


def test_a_kafka_config_that_nests_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON in the environment that is deeper than a stack is a `ConfigError` like any other that is no table."""
    monkeypatch.setenv("STREAMER_KAFKA_CONFIG", "[" * 100_000)
    with pytest.raises(ConfigError, match="STREAMER_KAFKA_CONFIG: expected a JSON object"):
        load()


def test_a_flag_of_its_own_wins_over_set() -> None:
    """Whoever gives --k and --set k=... is taken at the word that says it more plainly; neither hides the rest."""
    settings = load_settings(None, {"k": "3", "repeats": None}, ["k=5", "repeats=true"]).settings
    assert (settings.k, settings.repeats) == (3, True)


def test_an_option_of_a_command_is_a_flag_where_it_has_the_name_of_a_setting() -> None:
    """What else a command takes is its own, and no unknown setting."""
    loaded = load_settings(None, {"prefix": "p:", "wait": 3.0, "report": "k.json"}, None)
    assert [name for name, origin in loaded.origins.items() if origin == "flag"] == ["prefix"]


def test_a_refused_kafka_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who knows URLs may have put a password into it."""
    monkeypatch.setenv("STREAMER_KAFKA", "ann:hunter2@h:9092")
    with pytest.raises(ConfigError, match="kafka") as caught:
        load()
    assert "hunter2" not in str(caught.value)
