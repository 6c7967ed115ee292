"""Whatever bytes producers write, the worker learns every valid event, sets the rest aside, and stays as it is."""

import json
import random
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer import pipeline
from streamer.adapters.kafka import KafkaSink
from streamer.config import Settings
from streamer.demo.worker import Worker
from streamer.errors import InvalidEvent
from streamer.events import MAX_DEPTH, MAX_MESSAGE_BYTES, Event, Kind, decode
from streamer.propagate.learner import Learner
from streamer.servers.process import HOST
from streamer.training import ThreadTrainer

pytestmark = pytest.mark.timeout(300)

SEED = 20_261_125
COMPILE_TIMEOUT_S = 150  # the first start on a machine compiles the kernels
N_HOSTILE: dict[Kind, int] = {"catalog": 1000, "profiles": 1000, "interactions": 8000}
N_VALID: dict[Kind, int] = {"catalog": 80, "profiles": 60, "interactions": 4000}
N_USERS, N_ITEMS = 60, 80
BEGAN_MS = 1_700_000_000_000
REASONS = {"size", "json", "utf8", "schema", "number", "depth", "key"}
# The interactions are some 170 MB (deep and huge messages), sent in parts. What is read ahead, or waits for the collector of
# cycles, comes and goes by 20 MB from part to part: the least of several parts is what stays. A third of the bytes lies between
# the two groups of parts that are compared: far less may stay behind than that.
N_PARTS, COMPARED = 12, 4
MAX_GROWTH_BYTES = 24 << 20
# glibc keeps freed memory in up to 8 arenas a core: noise of the size that a leak would have.
FRUGAL_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}

Poll = Callable[..., Any]


class Sent(NamedTuple):
    """One message on its way."""

    key: bytes | None
    value: bytes | None


def _valid(kind: Kind, n: int, rng: random.Random) -> dict[str, Any]:
    """The n-th valid message of a kind, as the object it is made of."""
    when = BEGAN_MS + 1000 * n
    match kind:
        case "catalog":
            fields = {"categorical": {"colour": [f"c{n % 5}"]}, "numerical": {"price": n / 4}}
            return {"item_id": f"i{n % N_ITEMS}", "title": f"Thing {n}", **fields, "timestamp": when}
        case "profiles":
            return {"user_id": f"u{n % N_USERS}", "categorical": {"country": ["se"]}, "timestamp": when}
        case "interactions":
            user_id, item_id = f"u{rng.randrange(N_USERS)}", f"i{rng.randrange(N_ITEMS)}"
            return {"user_id": user_id, "item_id": item_id, "type": "view", "timestamp": when, "value": 1.5}


def _sent(document: dict[str, Any]) -> Sent:
    owner = document.get("user_id", document.get("item_id"))
    return Sent(str(owner).encode(), json.dumps(document).encode())


def _mutated(document: dict[str, Any], rng: random.Random) -> Sent:
    """A valid message with one to four bytes, or slices, changed, lost or doubled."""
    key, value = _sent(document)
    found = bytearray(value or b"")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del found[at : at + rng.randint(1, 8)]
            case 2:
                found[at:at] = rng.choice(
                    [b'"', b"{", b"}", b"[", b",", b"\\", b"\x00", b"\\ud800", b"-", b"9"]
                )
            case 3:
                found[at:at] = found[at : at + 16]
            case 4:
                del found[max(1, at) :]
    return Sent(key, bytes(found))


def _wrongly_typed(document: dict[str, Any], rng: random.Random) -> Sent:
    values = [
        None,
        True,
        -1,
        1.5,
        "",
        "x",
        [],
        ["a"],
        {},
        {"a": {"b": 1}},
        10**30,
        "yesterday",
        "\x00",
        "a" * 400,
    ]
    return _sent({**document, rng.choice(list(document)): rng.choice(values)})._replace(key=None)


def _huge(document: dict[str, Any], rng: random.Random) -> Sent:
    padded = {**document, "padding": rng.choice("abc") * (MAX_MESSAGE_BYTES + rng.randrange(60_000))}
    return rng.choice([_sent(padded), Sent(None, b"[" * 300_000), Sent(b"x", bytes(300_000))])


def _deep(document: dict[str, Any], rng: random.Random) -> Sent:
    n = rng.choice([MAX_DEPTH + 1, 2000, 100_000])
    opened, closed = rng.choice([("[", "]"), ('{"a":', "}")])
    nested = f"{opened * min(n, 40_000)}1{closed * min(n, 40_000)}"
    key, value = _sent(document)
    inside = (value or b"")[:-1] + b', "more": ' + nested.encode() + b"}"
    return rng.choice([Sent(key, inside), Sent(None, nested.encode()), Sent(key, opened.encode() * n)])


def _binary(document: dict[str, Any], rng: random.Random) -> Sent:
    packed = zlib.compress(_sent(document).value or b"")
    return Sent(
        rng.randbytes(8), rng.choice([packed, rng.randbytes(rng.randint(1, 400)), b"\x00", b"\x80\x04N."])
    )


def _not_utf8(document: dict[str, Any], rng: random.Random) -> Sent:
    key, value = _sent({**document, "note": "NOTE"})
    broken = rng.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"])
    return Sent(key, (value or b"").replace(b"NOTE", broken))


def _not_finite(document: dict[str, Any], rng: random.Random) -> Sent:
    key, value = _sent({**document, rng.choice(["timestamp", "value", "numerical"]): "NUMBER"})
    number = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b'{"price": NaN}'])
    return Sent(key, (value or b"").replace(b'"NUMBER"', number))


def _badly_keyed(document: dict[str, Any], rng: random.Random) -> Sent:
    key, value = _sent(document)
    choices = [Sent(b"", value), Sent(b"somebody-else", value), Sent(b"\xff\xfe", value), Sent(key, b"")]
    tombstones = [Sent(None, None), Sent(b"", None), Sent(b"\xff", None), Sent(b"a" * 300, None)]
    return rng.choice(choices + tombstones)


ATTACKS = (_mutated, _wrongly_typed, _deep, _binary, _not_utf8, _not_finite, _badly_keyed)


def _mixed(kind: Kind, rng: random.Random) -> list[Sent]:
    """Valid messages of a kind in their order, hostile ones anywhere between them."""
    valid = [_sent(_valid(kind, n, rng)) for n in range(N_VALID[kind])]
    n_huge = N_HOSTILE[kind] // 25
    attacks = [_huge] * n_huge + [ATTACKS[n % len(ATTACKS)] for n in range(N_HOSTILE[kind] - n_huge)]
    rng.shuffle(attacks)
    hostile = [attack(_valid(kind, n % N_VALID[kind], rng), rng) for n, attack in enumerate(attacks)]
    places = [True] * len(valid) + [False] * len(hostile)
    rng.shuffle(places)
    from_valid, from_hostile = iter(valid), iter(hostile)
    return [next(from_valid if is_valid else from_hostile) for is_valid in places]


class Expected(NamedTuple):
    """What must become of a stream: by the verdict of `decode` on each message alone."""

    events: list[Event]
    dead_letters: dict[int, tuple[Sent, str, str]]  # offset -> as it came, reason, path


def _judged(kind: Kind, messages: Sequence[Sent]) -> Expected:
    expected = Expected([], {})
    for offset, message in enumerate(messages):
        try:
            expected.events.append(decode(kind, message.key, message.value))
        except InvalidEvent as exc:
            expected.dead_letters[offset] = (message, exc.reason, exc.path)
    return expected


def _state_hash(events: Sequence[Event]) -> str:
    with closing(ThreadTrainer(Learner())) as trainer:
        state, _ = pipeline.step(pipeline.new_state(Settings(text_model="none").fold(), trainer), events, 1.0)
        return pipeline.state_hash(state)


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of the mock cluster, then of a real broker."""
    return str(request.getfixturevalue(f"{request.param}_kafka"))


@pytest.fixture
def topics(kafka: str, make_topic: Callable[..., str]) -> dict[str, str]:
    """Setting -> a topic of one partition."""
    return {kind: make_topic(kafka, kind) for kind in ("interactions", "catalog", "profiles", "dead_letters")}


@pytest.fixture
def worker(
    tmp_path: Path,
    kafka: str,
    redis_url: str,
    prefix: str,
    topics: dict[str, str],
    poll_until: Poll,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Worker]:
    """A `streamer run` with the limits of production, live."""
    for name, value in FRUGAL_MALLOC.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    # Compiled here, else the worker's memory is mostly what its compiler left behind.
    pipeline.warm_up(settings.fold(), settings.measure_share, settings.k)
    flags = [
        "--prefix",
        prefix,
        "--group",
        prefix.replace(":", "-"),
        "--set",
        "text_model=none",
        "--set",
        "training_waits=true",
    ]
    for kind, topic in topics.items():
        flags += ["--set", f"topic_{kind}={topic}"]
    worker = Worker(tmp_path, kafka, redis_url, flags)
    poll_until(worker.is_ready, timeout_s=COMPILE_TIMEOUT_S, what="the worker's start")
    yield worker
    worker.end()


def _n_read(worker: Worker) -> dict[tuple[str, str], int]:
    """(topic, outcome) -> records."""
    connection = HTTPConnection(HOST, worker.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.labels["topic"], sample.labels["outcome"]): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "streamer_events_total"
    }


def _dead_letters(bootstrap: str, topic: str, n_expected: int) -> list[tuple[Sent, dict[str, str]]]:
    """What lies on the dead-letter topic: message, and headers as text."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{topic}-look"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    give_up_at_s = time.monotonic() + 30
    found = []
    while len(found) < n_expected and time.monotonic() < give_up_at_s:
        for message in consumer.consume(1000, 0.2):
            assert message.error() is None
            headers = {name: value.decode() for name, value in message.headers()}
            found.append((Sent(message.key(), message.value()), headers))
    # none too many
    found += [(Sent(message.key(), message.value()), {}) for message in consumer.consume(1, 0.5)]
    consumer.close()
    return found


def test_hostile_messages_are_set_aside_and_nothing_else(
    worker: Worker, kafka: str, topics: dict[str, str], poll_until: Poll
) -> None:
    """Among 10,000 hostile messages every valid event is learned: the state is that of the valid ones alone.

    Every invalid one is in dead letters, once, as it came, with reason and path; the worker runs on with its
    default limits, and the last third of the hostile bytes leaves its memory as the third before did.
    """
    rng = random.Random(SEED)
    streams: dict[Kind, list[Sent]] = {kind: _mixed(kind, rng) for kind in N_VALID}
    expected = {kind: _judged(kind, messages) for kind, messages in streams.items()}
    sink = KafkaSink(kafka)
    n_sent: dict[str, int] = {}

    def send(kind: Kind, messages: Sequence[Sent]) -> None:
        """Send, and wait until all of it is read: the order between topics is not on the log."""
        topic = topics[kind]
        for message in messages:
            sink.send(topic, message.key, message.value)
        sink.flush(30)
        n_sent[topic] = n_sent.get(topic, 0) + len(messages)
        counts = lambda: sum(n for (name, _), n in _n_read(worker).items() if name == topic)  # noqa: E731
        poll_until(lambda: counts() == n_sent[topic], timeout_s=60, what=f"reading {n_sent[topic]} of {kind}")

    send("catalog", streams["catalog"])
    send("profiles", streams["profiles"])
    process, rss_bytes = psutil.Process(worker.pid), []
    n_a_part = len(streams["interactions"]) // N_PARTS
    assert n_a_part * N_PARTS == len(streams["interactions"])
    for begin in range(0, len(streams["interactions"]), n_a_part):
        send("interactions", streams["interactions"][begin : begin + n_a_part])
        rss_bytes.append(process.memory_info().rss)
    sink.close()

    n_read = _n_read(worker)
    for kind, verdicts in expected.items():
        # some attacks leave a record as another one was: said twice, and learned once
        n_folded = n_read[topics[kind], "learned"] + n_read.get((topics[kind], "duplicate"), 0)
        assert n_folded == len(verdicts.events) >= N_VALID[kind]
        assert n_read[topics[kind], "invalid"] == len(verdicts.dead_letters) > N_HOSTILE[kind] * 0.8
    events = [event for kind in ("catalog", "profiles", "interactions") for event in expected[kind].events]
    assert worker.report_now()["state_hash"] == _state_hash(events)
    assert min(rss_bytes[-COMPARED:]) - min(rss_bytes[-2 * COMPARED : -COMPARED]) < MAX_GROWTH_BYTES

    worker.stop()  # in order: exit code 0, else it raises; what it owes the log is there now
    _compare_dead_letters(kafka, topics, expected)


def _compare_dead_letters(kafka: str, topics: dict[str, str], expected: dict[Kind, Expected]) -> None:
    wanted = {
        (topics[kind], offset): letter
        for kind, verdicts in expected.items()
        for offset, letter in verdicts.dead_letters.items()
    }
    found = _dead_letters(kafka, topics["dead_letters"], len(wanted))
    got = {
        (headers["topic"], int(headers["offset"])): (message, headers["reason"], headers["path"])
        for message, headers in found
    }
    assert len(found) == len(got) == len(wanted)
    wrong = [
        (where, letter[1:], got.get(where, ())[1:])
        for where, letter in wanted.items()
        if got.get(where) != letter
    ]
    assert not wrong, wrong[:5]
    assert {reason for _, reason, _ in got.values()} == REASONS
