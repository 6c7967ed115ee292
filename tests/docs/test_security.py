"""What SECURITY.md says is true: the settings, the example and the tests that it names are there."""

import re
from pathlib import Path

import pytest

from streamer.config import Settings, load
from streamer.config.redis import redis_options

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
# What the top level may hold beside dotfiles: DESIGN.md, and issue 6 for SECURITY.md.
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "SECURITY.md", "LICENSE", "docker-compose.yml"),
    *("streamer", "tests", "schemas", "ops"),
}


def test_the_tests_that_hold_the_promises_are_there() -> None:
    """Each row of the table of promises names one at least."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "promise" not in line]
    assert len(rows) >= 8
    for row in rows:
        named = re.findall(r"`(tests/\S+?\.py)`", row)
        assert named, row
        assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_options_of_redis_are_those_that_can_be_set() -> None:
    """All of them are listed, and no other."""
    (listed,) = re.findall(r"these of redis-py: (.*?)\.\n", TEXT, re.DOTALL)
    with pytest.raises(ValueError, match="is none of") as refused:
        redis_options({"no_such_option": "x"})
    assert str(refused.value).endswith("is none of " + ", ".join(re.findall(r"`(\w+)`", listed)))


def test_the_example_can_be_loaded(tmp_path: Path) -> None:
    """As it stands, but for where the secrets lie."""
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    for name in ("kafka-password", "redis-password"):
        (tmp_path / name).write_text(f"{name} itself\n")
    (tmp_path / "streamer.toml").write_text(example.replace("/run/secrets", str(tmp_path)))
    settings = load({}, tmp_path / "streamer.toml").settings
    assert settings.kafka_config["sasl.password"] == "kafka-password itself"
    assert settings.redis_config["password"] == "redis-password itself"  # noqa: S105


def test_settings_that_are_named_exist() -> None:
    """Whatever looks like the name of a setting is one."""
    named = set(re.findall(r"`((?:topic|text|kafka|redis|metrics|publish|checkpoint)_\w+)`", TEXT))
    assert named
    assert named - set(Settings.model_fields) == set()


def test_the_top_level_holds_nothing_else() -> None:
    """A newcomer sees at once what there is; what git ignores does not count."""
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    top = {path.split("/")[0] for path in listed.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
