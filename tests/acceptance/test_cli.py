"""The command line as people meet it: a subprocess, its words, its exit code."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamer.adapters.kafka import KafkaSink
from streamer.adapters.memory import SystemClock
from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.vectors import RedisVectors
from streamer.cli import check
from streamer.config import Settings
from streamer.events import ANONYMOUS
from streamer.ports import VectorEntry
from streamer.servers import EmbeddedRedis
from streamer.telemetry import MetricsServer, Telemetry

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numba", "numpy", "confluent_kafka", "redis", "pydantic", "rich", "prometheus_client", "msgspec")
HEAVY_FOR_A_START = ("torch", "sentence_transformers", "sklearn", "scipy.stats", "pandas", "river.drift")
HELP_LIMIT_S = 0.3
# Terabytes of tables, which the kernel refuses at once (with vm.overcommit_memory at 0, its default, or 2).
TOO_LARGE = ("--set", "text_model=none", "--set", "max_items=1000000000", "--set", "max_users=1000000000")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
MakeTopic = Callable[..., str]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `streamer ...` in a directory of its own, without settings of ours."""

    def run(*arguments: str, stdin: bytes = b"", **environment: str) -> "subprocess.CompletedProcess[str]":
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        pythonpath = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "streamer", *arguments],
            cwd=tmp_path,
            env={**own, "PYTHONPATH": pythonpath, "COLUMNS": "100", "TERM": "dumb", **environment},
            input=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        text = (done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
        return subprocess.CompletedProcess(done.args, done.returncode, *text)

    return run


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refused(done: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    """It ended with this code and a sentence that has these words, without a traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


# --- help ---


def test_help_lists_the_commands(cli: Cli) -> None:
    """Every command, each with a whole sentence."""
    done = cli("--help")
    assert done.returncode == 0
    for name in ("run", "demo", "replay", "inspect", "produce", "check", "dlq", "erase", "verify"):
        assert re.search(rf"^  {name} +[A-Z].*\.$", done.stdout, re.MULTILINE), done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_help_is_instant(cli: Cli) -> None:
    """Under 0.3 s of a core: the best of five, as the machine may be busy with other things."""

    def one_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert cli("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(one_s() for _ in range(5)) < HELP_LIMIT_S


@pytest.mark.parametrize(("module", "heavy"), [("cli", HEAVY), ("cli.worker", HEAVY_FOR_A_START)])
def test_nothing_heavy_is_imported(module: str, heavy: tuple[str, ...]) -> None:
    """The reason why `--help` is instant, and a start is soon at work."""
    code = f"import sys, streamer.{module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_of_a_command_shows_settings_variables_and_defaults(cli: Cli) -> None:
    """Options that are settings say what they mean, which variable sets them, and the default."""
    done = cli("run", "--help")
    text = " ".join(done.stdout.split())
    assert "--kafka HOST:PORT Kafka bootstrap servers, HOST:PORT[,HOST:PORT...] [env STREAMER_KAFKA]" in text
    assert "--k N Items on a list [env STREAMER_K; default 20]" in text


def test_version_is_printed_in_one_line(cli: Cli) -> None:
    """`--version` prints name and version, in one line."""
    assert re.fullmatch(r"streamer \d+\.\d+\.\d+\n", cli("--version").stdout)


# --- what is refused ---


@pytest.mark.parametrize("command", ["run", "demo", "replay", "inspect", "produce", "check"])
def test_a_wrong_flag_is_named(cli: Cli, command: str) -> None:
    """Exit code 2, and the flag is named."""
    refused(cli(command, "--kafak", "x"), 2, "No such option", "--kafak")


def test_a_wrong_command_is_named(cli: Cli) -> None:
    """Exit code 2, and the command is named."""
    refused(cli("walk"), 2, "walk")


def test_an_unknown_variable_is_refused_with_the_nearest_name(cli: Cli) -> None:
    """Exit code 2, before anything connects, with the nearest name."""
    refused(cli("run", STREAMER_KAFAK="localhost:1"), 2, "STREAMER_KAFAK", "did you mean STREAMER_KAFKA?")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "repeat=true"], ["'repeat' is no setting", "did you mean repeats?"]),
        (["--set", "repeats=ture"], ["repeats:", "'ture'"]),
        (["--k", "many"], ["k: expected a valid integer", "'many'"]),
        (["--config", "nowhere.toml"], ["nowhere.toml: cannot be read"]),
        (["--redis", "redis://localhost:1"], ["no Kafka is set", "--kafka"]),
        (["--kafka", "localhost:1"], ["no Redis is set", "--redis"]),
        (["--kafka", "localhost"], ["kafka: expected HOST:PORT"]),
        (["--kafka", "localhost:1", "--redis", "http://u:hunter2@localhost"], ["redis: expected redis://"]),
    ],
)
def test_wrong_settings_are_refused_with_what_was_expected(
    cli: Cli, arguments: list[str], words: list[str]
) -> None:
    """Exit code 2 and what was expected; a refused URL is not repeated, it may hold a password."""
    done = cli("run", *arguments)
    refused(done, 2, *words)
    assert "hunter2" not in done.stdout + done.stderr


def test_a_report_that_could_not_be_written_is_refused_at_the_start(cli: Cli) -> None:
    """Not after hours of work."""
    done = cli("run", "--kafka", "localhost:1", "--redis", "redis://localhost:1", "--report", "no/where.json")
    refused(done, 2, "no/where.json")


def test_a_wrong_broker_is_named_after_the_start_timeout(cli: Cli, redis_url: str, closed_port: int) -> None:
    """Exit code 3 after the start timeout, and the address is named."""
    address = f"127.0.0.1:{closed_port}"
    common = ["--redis", redis_url, "--metrics-port", "0", "--set", "start_timeout_s=1"]
    refused(cli("run", "--kafka", address, *common), 3, "streamer: Kafka at", address)


def test_a_wrong_redis_is_named_without_its_password(cli: Cli, mock_kafka: str, closed_port: int) -> None:
    """Exit code 3 after the start timeout, and the address is named; the password is not."""
    url = f"redis://:hunter2@127.0.0.1:{closed_port}/0"
    common = ["--kafka", mock_kafka, "--metrics-port", "0", "--set", "start_timeout_s=1"]
    done = cli("run", "--redis", url, *common)
    refused(done, 3, "streamer: Redis at", f"127.0.0.1:{closed_port}")
    assert "hunter2" not in done.stdout + done.stderr


def test_topics_that_do_not_exist_are_named(cli: Cli, mock_kafka: str, redis_url: str) -> None:
    """Exit code 3, and the topics are named: nobody waits for a typo to come into being."""
    topic = f"typo-{uuid.uuid4().hex}"
    done = cli(
        *("run", "--kafka", mock_kafka, "--redis", redis_url, "--metrics-port", "0"),
        *("--set", "start_timeout_s=1", "--set", f"topic_catalog={topic}"),
    )
    refused(done, 3, topic, "not exist")


def test_check_asks_for_the_topic_of_lists_where_they_are_sent(
    cli: Cli, mock_kafka: str, redis_url: str, make_topic: MakeTopic
) -> None:
    """A worker that cannot write there would find out with its first list."""
    kinds = ("interactions", "catalog", "profiles", "dead_letters")
    own = [f"topic_{kind}={make_topic(mock_kafka, kind)}" for kind in kinds]
    missing = f"typo-{uuid.uuid4().hex}"
    topics = [
        part
        for one in (*own, f"topic_recommendations={missing}", "text_model=none")
        for part in ("--set", one)
    ]
    common = ["check", "--kafka", mock_kafka, "--redis", redis_url, "--metrics-port", "0", *topics]
    assert "kafka: ok" in cli(*common).stdout
    done = cli(*common, "--set", "publish_recommendations=true")
    assert done.returncode == 3
    assert missing in done.stdout.partition("kafka: ")[2].splitlines()[0]


def test_a_metrics_port_in_use_is_refused_with_the_flag_that_helps(
    cli: Cli, mock_kafka: str, redis_url: str
) -> None:
    """Exit code 2, and the flag that helps."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = cli("run", "--kafka", mock_kafka, "--redis", redis_url, "--metrics-port", port)
    refused(done, 2, f"127.0.0.1:{port}", "--metrics-port")


def test_debug_shows_the_traceback(cli: Cli) -> None:
    """For us, on request."""
    done = cli("--debug", "run", "--set", "x=1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


# --- check ---


def test_check_shows_settings_and_their_origin(
    cli: Cli, mock_kafka: str, redis_url: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """All of them, masked, with where each came from; then every connection. Exit code 0 when all is well."""
    (tmp_path / "s.toml").write_text("k = 7\n[kafka_config]\n'sasl.password' = 'hunter2'\n")
    topics = [
        f"--set=topic_{name}={make_topic(mock_kafka, name)}"
        for name in ("interactions", "catalog", "profiles", "texts")
    ]
    dead = f"--set=topic_dead_letters={make_topic(mock_kafka, 'dead')}"
    done = cli(
        *("check", "--config", "s.toml", "--kafka", mock_kafka, "--metrics-port", "0", *topics, dead),
        STREAMER_REDIS=redis_url,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ k +7 +file s\.toml +Items on a list", done.stdout, re.MULTILINE)
    assert re.search(r"^ redis +redis://\S+ +environment STREAMER_REDIS", done.stdout, re.MULTILINE)
    assert re.search(r"^ kafka +\S+ +flag", done.stdout, re.MULTILINE)
    assert "hunter2" not in done.stdout + done.stderr
    for name in ("kafka", "redis", "metrics port", "text model"):
        assert f"{name}: ok\n" in done.stdout


def test_check_sees_keys_that_lie_elsewhere(
    cli: Cli, mock_kafka: str, redis_url: str, make_topic: MakeTopic
) -> None:
    """Of producers with the default of librdkafka it says so, with the setting that mends it; with that, nothing."""
    names = ("interactions", "catalog", "profiles", "dead_letters")
    topics = {name: make_topic(mock_kafka, name, n_partitions=4) for name in names}
    for name, partitioner in (("interactions", "consistent_random"), ("profiles", "murmur2_random")):
        sink = KafkaSink(mock_kafka, config={"partitioner": partitioner})
        for n in range(40):
            sink.send(topics[name], f"u{n}".encode(), b"{}")
        sink.close()
    common = [
        "check",
        "--kafka",
        mock_kafka,
        "--redis",
        redis_url,
        "--metrics-port",
        "0",
        "--set",
        "text_model=none",
    ]
    common += [part for name, topic in topics.items() for part in ("--set", f"topic_{name}={topic}")]
    told = cli(*common).stdout
    assert f"kafka: careful: topic {topics['interactions']}: " in told
    assert "--set kafka_config.partitioner=consistent_random" in told
    assert f"topic {topics['profiles']}: " not in told
    told = cli(*common, "--set", "kafka_config.partitioner=consistent_random").stdout
    assert f"topic {topics['interactions']}: " not in told
    assert f"topic {topics['profiles']}: " in told  # now those


def test_check_is_careful_with_redis(cli: Cli, closed_port: int) -> None:
    """What works and will hurt later is a sentence: a Redis that throws lists away, and a machine that is too small.

    It costs the exit code with --strict alone, and a problem goes first.
    """
    where = ("--quiet", "--metrics-port", "0", "--kafka", f"127.0.0.1:{closed_port}", *TOO_LARGE)
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", "1gb")
        admin.config_set("maxmemory-policy", "allkeys-lru")
        done = cli("check", *where, "--redis", server.url, "--strict")
        keys = list(admin.scan_iter())
    assert done.returncode == 3
    assert "redis: ok\nredis: careful: Redis throws any key away when its 1.1 GB are full" in done.stdout
    assert "redis: careful: Redis may hold 1.1 GB" in done.stdout
    assert "checkpoints: ok\n" in done.stdout
    assert "memory: the tables of the model cannot be had" in done.stdout
    assert "max_batch" not in done.stdout  # --quiet
    assert keys == []  # what was tried is gone


@pytest.mark.parametrize("is_worker", [True, False])
def test_check_takes_the_port_of_a_worker_for_no_mistake(
    monkeypatch: pytest.MonkeyPatch, is_worker: bool
) -> None:
    """Its port is taken by the worker that runs: no mistake, unless a second one is meant. By anybody else it is one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = MetricsServer(Telemetry(SystemClock()), "127.0.0.1", 0)
        port = server.port if is_worker else other.getsockname()[1]
        monkeypatch.setattr(check, "_PORT_TIMEOUT_S", 0.2)  # the other one never answers
        settings = Settings(metrics_port=port, text_model="none", checkpoint_interval_s=0)
        (found,) = (one for one in check.findings(settings) if one.about == "metrics port")
        server.close()
    assert (found.problem is None) == is_worker
    assert [f"a worker listens on 127.0.0.1:{port} now" in told for told in found.cautions] == [
        True
    ] * is_worker


def test_tables_that_cannot_be_had_are_refused_in_a_sentence(cli: Cli) -> None:
    """A sentence with the settings that help, no traceback."""
    refused(
        cli("replay", str(ROOT / "ops/data/online-retail"), "--events", "1", *TOO_LARGE),
        2,
        "out of memory",
        "max_users",
    )


def test_check_tells_of_a_place_where_no_checkpoint_can_be_written(
    cli: Cli, mock_kafka: str, redis_url: str, tmp_path: Path
) -> None:
    """Before the first one fails."""
    (tmp_path / "file").write_text("")
    common = ("check", "--quiet", "--kafka", mock_kafka, "--redis", redis_url, "--metrics-port", "0")
    done = cli(*common, "--checkpoint-url", "file/within")
    assert "checkpoints: checkpoints at file" in done.stdout


def test_a_text_model_that_is_not_here_is_named(cli: Cli) -> None:
    """Exit code 2 before anything connects, and the setting is named; `none` needs no model."""
    common = ["--kafka", "localhost:1", "--redis", "redis://localhost:1", "--metrics-port", "0"]
    refused(cli("run", *common, "--set", "text_model=no-such"), 2, "text model 'no-such'", "text_download")
    limits = ["--set", "start_timeout_s=0.1", "--set", "text_model=none"]
    refused(cli("run", *common, *limits), 3, "streamer: ")


def test_check_tells_every_problem(cli: Cli, redis_url: str, closed_port: int) -> None:
    """Exit code of the first problem; the other connections are tried all the same."""
    done = cli("check", "--kafka", f"127.0.0.1:{closed_port}", "--redis", redis_url, "--metrics-port", "0")
    assert done.returncode == 3
    assert re.search(r"^kafka: Kafka at .* no answer", done.stdout, re.MULTILINE)
    assert "redis: ok\n" in done.stdout
    assert "Traceback" not in done.stderr


# --- produce ---


def event(user_id: str, item_id: str) -> bytes:
    """An interaction as a line."""
    return json.dumps({"user_id": user_id, "item_id": item_id, "type": "view", "timestamp": 1}).encode()


LINES = b"\n".join(
    [
        event("a", "x"),
        b"",
        b'{"user_id":"b","item_id":3,"type":"view","timestamp":1}',
        b"\x1b[2J",
        event("c", "z"),
    ]
)


def on_topic(mock_kafka: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """What lies on a topic of one partition."""
    from streamer.adapters.kafka import KafkaSource

    source = KafkaSource(mock_kafka, [topic], "test")
    (end,) = source.end_offsets().values()
    found: list[tuple[bytes | None, bytes | None]] = []
    while len(found) < end:
        found += [(record.key, record.value) for record in source.poll(100, 1.0)]
    source.close()
    return found


def test_produce_sends_what_is_valid_and_tells_of_the_rest(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """Invalid lines are named with number and field, never raw; the id becomes the key; exit code 7."""
    topic = make_topic(mock_kafka)
    done = cli(
        "produce", "interactions", "--kafka", mock_kafka, "--set", f"topic_interactions={topic}", stdin=LINES
    )
    refused(done, 7, "line 3: $.item_id: expected", "line 4: expected one JSON object")
    assert "2 sent, 2 invalid" in done.stdout
    assert "\x1b" not in done.stderr
    assert on_topic(mock_kafka, topic) == [(b"a", event("a", "x")), (b"c", event("c", "z"))]


def test_produce_strict_sends_all_or_nothing(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """One bad line, and nothing is sent; none, and all is."""
    topic = make_topic(mock_kafka)
    (tmp_path / "bad.jsonl").write_bytes(LINES)
    (tmp_path / "good.jsonl").write_bytes(event("a", "x") + b"\r\n" + event("b", "y") + b"\n")
    common = ("--strict", "--kafka", mock_kafka, "--set", f"topic_interactions={topic}")
    refused(cli("produce", topic, "bad.jsonl", *common), 7)
    assert on_topic(mock_kafka, topic) == []
    assert cli("produce", topic, "good.jsonl", *common).returncode == 0
    assert [key for key, _ in on_topic(mock_kafka, topic)] == [b"a", b"b"]


def test_produce_tells_of_another_format_in_few_words(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """A table of commas: what was expected, twenty lines of it, and how many more."""
    topic = make_topic(mock_kafka)
    where = ("--kafka", mock_kafka, "--set", f"topic_interactions={topic}")
    done = cli("produce", "interactions", "-", *where, stdin=b"user,item\n" * 100)
    refused(done, 7, "line 1: expected one JSON object a line, got 'user,item'", "and 80 more lines")
    assert done.stderr.count("\n") == 21
    assert "0 sent, 100 invalid" in done.stdout


def test_produce_takes_no_seconds_for_milliseconds(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """An event of November 2025 in seconds would be one of January 1970: reported, not sent. RFC 3339 means what it says."""
    topic = make_topic(mock_kafka)
    base = {"user_id": "a", "item_id": "i", "type": "view"}
    times = [1_764_126_000, 1_764_126_000_000, "1971-01-01T00:00:00Z", 0]
    lines = b"\n".join(json.dumps({**base, "timestamp": when}).encode() for when in times)
    where = ("--kafka", mock_kafka, "--set", f"topic_interactions={topic}")
    done = cli("produce", "interactions", *where, stdin=lines)
    refused(done, 7, "line 1: $.timestamp: expected milliseconds, got 1764126000", "1970-01-21", "seconds?")
    assert "3 sent, 1 invalid" in done.stdout


def test_produce_tells_of_fields_that_nobody_reads(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """The contract ignores what it does not name, so a typing error would be silence: reported once a name, and sent."""
    topic = make_topic(mock_kafka)
    lines = event("a", "x")[:-1] + b', "contxt": {}}\n' + event("b", "x")[:-1] + b', "contxt": {}}\n'
    where = ("--kafka", mock_kafka, "--set", f"topic_interactions={topic}")
    done = cli("produce", "interactions", *where, stdin=lines)
    assert (done.returncode, done.stdout) == (0, "2 sent, 0 invalid\n")
    assert done.stderr.count("'contxt' is ignored: it is none of context, event_id,") == 1


def test_produce_passes_over_a_mark_of_windows_and_tells_of_returns(
    cli: Cli, mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """A file that begins with a byte order mark loses no line; a negative value is sent, and reported once."""
    topic = make_topic(mock_kafka)
    back = event("b", "y")[:-1] + b', "value": -1}\n'
    where = ("--kafka", mock_kafka, "--set", f"topic_interactions={topic}")
    done = cli(
        "produce", "interactions", *where, stdin=b"\xef\xbb\xbf" + event("a", "x") + b"\n" + back + back
    )
    assert (done.returncode, done.stdout) == (0, "3 sent, 0 invalid\n")
    assert done.stderr.count("line 2: value -1: an event counts as taken whatever its value") == 1
    assert on_topic(mock_kafka, topic)[0] == (b"a", event("a", "x"))


def test_produce_that_ends_early_says_how_far_it_came(cli: Cli) -> None:
    """Kafka is away: what was handed over may have arrived, for all that is known here."""
    where = ("--kafka", "127.0.0.1:1", "--set", "kafka_config.message.timeout.ms=1000")
    done = cli("produce", "interactions", *where, stdin=event("a", "x") + b"\n" + event("b", "x"))
    refused(done, 3, "ended after 2 events were handed to Kafka")


def test_produce_refuses_what_it_cannot_do(cli: Cli, mock_kafka: str) -> None:
    """A topic that nobody reads, a file that is not there."""
    refused(cli("produce", "orders", "--kafka", mock_kafka), 2, "'orders'", "interactions")
    refused(cli("produce", "interactions", "no.jsonl", "--kafka", mock_kafka), 4, "no.jsonl: cannot be read")


def test_a_part_that_there_is_not_cannot_be_switched_off(cli: Cli) -> None:
    """Exit code 2, with the names that there are, whoever answers at these addresses."""
    where = ("--kafka", "localhost:1", "--redis", "redis://localhost:1", "--set", "text_model=none")
    refused(cli("run", *where, "--set", "without=text,vectorz"), 2, "without", "vectors", "got vectorz")


# --- inspect ---


def published(items: list[str], **fields: object) -> bytes:
    """A list as the worker writes it."""
    listed = [{"id": item_id, "score": 1 / (n + 2), "path": "trending"} for n, item_id in enumerate(items)]
    head = {"version": "recommendations.v1", "user_id": "u", "items": listed, "model": "m"}
    times = {
        "generated_at": time.time_ns() // 1_000_000,
        "event_time": None,
        "position": {"interactions-0": 5},
    }
    return json.dumps({**head, **times, **fields}).encode()


def test_inspect_shows_a_list(cli: Cli, redis_url: str, prefix: str) -> None:
    """Its age, its items in order with score and path, and which of them are retired."""
    lists = RedisLists(redis_url, prefix)
    lists.write([("u1", published(["i1", "i2"]))], 60)
    lists.retire(["i2"], 60)
    done = cli("inspect", "u1", "--redis", redis_url, "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    assert re.search(r"made [0-9.]+ s ago; model m", done.stdout)
    assert re.search(r"1 +i1 +0\.5 +trending", done.stdout)
    assert re.search(r"2 +i2 +0\.3333 +trending +retired", done.stdout)
    assert (
        "item i2: retired" in cli("inspect", "--item", "i2", "--redis", redis_url, "--prefix", prefix).stdout
    )


def test_inspect_of_what_is_no_id(cli: Cli, redis_url: str) -> None:
    """Bytes that are no UTF-8, as a user or as an item: a sentence and exit code 2, no traceback."""
    for arguments in (["\udcff"], ["--item", "\udcff"]):
        done = cli("inspect", *arguments, "--redis", redis_url)
        assert done.returncode == 2
        assert "id, got one that is not Unicode text" in done.stderr


def test_inspect_of_a_list_that_is_empty(cli: Cli, redis_url: str, prefix: str) -> None:
    """Whoever took everything has an empty list: a sentence, and what apps get in its place."""
    RedisLists(redis_url, prefix).write([("u1", published([]))], 60)
    done = cli("inspect", "u1", "--redis", redis_url, "--prefix", prefix)
    assert done.returncode == 0
    assert "the list is empty" in done.stdout


def test_inspect_names_the_version_of_a_vector(cli: Cli, redis_url: str, prefix: str) -> None:
    """Of the user and of the item asked for, where there is one; never in the way of --raw."""
    RedisLists(redis_url, prefix).write([("u1", published(["i1"])), ("u2", published(["i1"]))], 60)
    vectors = RedisVectors(redis_url, prefix)
    vectors.write_users([VectorEntry("u1", bytes(128), 17, 1_000, {})], 60)
    vectors.write_items([VectorEntry("i1", bytes(128), 18, -1, {})], 60)
    where = ("--redis", redis_url, "--prefix", prefix)
    assert "vector of user u1: version 17, 64 numbers" in cli("inspect", "u1", *where).stdout
    assert "vector" not in cli("inspect", "u2", *where).stdout
    assert "vector of item i1: version 18, 64 numbers" in cli("inspect", "--item", "i1", *where).stdout
    raw = cli("inspect", "u1", "--raw", *where).stdout
    assert json.loads(raw)["items"][0]["id"] == "i1"


def test_inspect_of_a_stranger_shows_the_anonymous_list(cli: Cli, redis_url: str, prefix: str) -> None:
    """As apps get it, and says so; without that one either, it is exit code 4 and a sentence."""
    arguments = ("inspect", "nobody", "--redis", redis_url, "--prefix", prefix)
    refused(cli(*arguments), 4, "there is no list")
    RedisLists(redis_url, prefix).write([(ANONYMOUS, published(["i9"]))], 60)
    done = cli(*arguments)
    assert done.returncode == 0
    assert "no list for nobody" in done.stderr
    assert "i9" in done.stdout


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_inspect_never_passes_escapes_to_the_terminal(
    cli: Cli, redis_url: str, prefix: str, raw: list[str]
) -> None:
    """Ids and models come from messages."""
    hostile = "\x1b]0;pwned\x07\u202e[red]"
    value = published([hostile], model=hostile, user_id=hostile)
    if raw:
        value = (
            value.decode().encode("raw_unicode_escape").decode("unicode_escape").encode("utf-8", "replace")
        )
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{prefix}list:u1", value)
    done = cli("inspect", "u1", "--redis", redis_url, "--prefix", prefix, *raw)
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(done.stdout + done.stderr)
    assert "pwned" in done.stdout


def test_inspect_refuses_an_id_that_no_user_has(cli: Cli, redis_url: str) -> None:
    """The reserved prefix, and what cannot be an id."""
    refused(cli("inspect", "__streamer_x", "--redis", redis_url), 2, "reserved")
    refused(cli("inspect", "", "--redis", redis_url), 2, "expected a user id")


def test_an_unreadable_list_is_told(cli: Cli, redis_url: str, prefix: str) -> None:
    """Exit code 4, and how to see it."""
    RedisLists(redis_url, prefix).write([("u1", b"{}")], 60)
    refused(cli("inspect", "u1", "--redis", redis_url, "--prefix", prefix), 4, "cannot be read", "--raw")
