"""`streamer dlq`, on letters of the embedded Kafka."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.cli import app
from streamer.errors import DataError, InvalidEvent
from streamer.letters import letter_headers
from streamer.ports import Record

HOSTILE = b'{"user_id":"u\x1b[31m","nested":[1]}'
GOOD = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'

Cli = Callable[..., Result]


@pytest.fixture
def topics(mock_kafka: str, make_topic: Callable[..., str]) -> dict[str, str]:
    """One topic of each kind; two letters of interactions lie on the last one."""
    topics = {
        kind: make_topic(mock_kafka, kind)
        for kind in ("interactions", "catalog", "profiles", "texts", "dead_letters")
    }
    sink = KafkaSink(mock_kafka)
    for offset, (value, reason, path) in enumerate(
        [(b"{", "json", "$"), (HOSTILE, "schema", "$.user_id\x1b[2J")]
    ):
        record = Record(topics["interactions"], 0, offset, 0, b"u\x07", value)
        headers = letter_headers(record, InvalidEvent(reason, path, "expected an id"))
        sink.send(topics["dead_letters"], record.key, record.value, headers)
    sink.close()
    return topics


@pytest.fixture
def cli(mock_kafka: str, topics: dict[str, str]) -> Cli:
    """Run `streamer dlq ...` there."""

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        given = {"kafka": mock_kafka, **{f"topic_{kind}": topic for kind, topic in topics.items()}}
        environment = {f"STREAMER_{name.upper()}": value for name, value in given.items()}
        return CliRunner().invoke(app, ["dlq", *arguments], stdin, {**environment, "TERM": "dumb"})

    return run


def test_letters_are_listed_and_shown_safely(cli: Cli, topics: dict[str, str]) -> None:
    """Counts by reason, the newest first; ids, paths and messages never reach the terminal as they came."""
    listed = cli("list")
    assert listed.exit_code == 0, listed.stderr_bytes
    out = listed.stdout_bytes.decode()
    assert out.startswith(f"2 on {topics['dead_letters']}: 1 json, 1 schema; 2 open\n")
    assert out.index("0:1") < out.index("0:0")
    assert f"{topics['interactions']}[0]@1" in out
    assert cli("list", "--reason", "json").stdout_bytes.startswith(b"1 on ")
    newest = cli("list", "--limit", "1").stdout_bytes.decode()
    assert (newest[:5], "0:1" in newest, "0:0" in newest) == ("2 on ", True, False)
    shown = cli("show", "0:1")
    assert shown.stdout_bytes.startswith(b"Letter 0:1: it does not follow the schema at $.user_id")
    for unsafe in (b"\x1b", b"\x07"):
        assert unsafe not in listed.stdout_bytes + shown.stdout_bytes
    assert b"\\x1b[31m" in shown.stdout_bytes
    assert cli("show", "0:1", "--raw").stdout_bytes == HOSTILE
    missing = cli("show", "0:9")
    assert (missing.exit_code, missing.stdout_bytes) == (4, b"")
    assert b"0:9: no letter lies there" in missing.stderr_bytes
    nowhere = cli("show", "9:99")
    assert nowhere.exit_code == 4
    assert (
        f"9:99: there is no partition 9; {topics['dead_letters']} has 0 alone"
        in nowhere.stderr_bytes.decode()
    )
    assert cli("show", "17").exit_code == 2


def test_a_repaired_letter_is_replayed_once(cli: Cli, topics: dict[str, str], mock_kafka: str) -> None:
    """From stdin, to the topic it came from; then it is refused, with the reason and exit code 7."""
    refused = cli("replay")
    assert (refused.exit_code, refused.stdout_bytes) == (2, b"")
    two = cli("replay", "0:0", "0:1", "--value", "-", stdin=GOOD)
    assert (two.exit_code, b"--value repairs one letter" in two.stderr_bytes) == (2, True)
    broken = cli("replay", "0:0", "--value", "-", "--key", "\udcff", stdin=GOOD)
    assert broken.exit_code == DataError.exit_code
    assert b"--key: expected an id, got one that is not Unicode text" in broken.stderr_bytes
    sent = cli("replay", "0:0", "--value", "-", "--key", "u", stdin=GOOD + b"\n")
    assert (sent.exit_code, sent.stdout_bytes) == (0, b"1 sent, 0 not sent, 0 sent before\n"), (
        sent.stderr_bytes
    )
    again = cli("replay", "0:0", "--value", "-", "--key", "u", stdin=GOOD)
    assert again.exit_code == 7
    assert b"--again" in again.stderr_bytes
    source = KafkaSource(mock_kafka, [topics["interactions"]], "test")
    (record,) = source.poll(10, 5.0)
    source.close()
    assert (record.key, record.value) == (b"u", GOOD)
    assert dict(record.headers)["streamer-dlq-attempt"] == b"1"
