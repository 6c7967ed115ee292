"""The parts of the runner one by one: patience, positions, intake, outgoing messages."""

import gc
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from streamer.adapters.memory import ManualClock, MemoryLog, MemorySink, MemorySource
from streamer.checkpoint import Meta
from streamer.config import Settings
from streamer.errors import InvalidEvent, LogGap, TooManyInvalid, Unavailable
from streamer.events import UserErased
from streamer.letters import LOG_MS
from streamer.pipeline.delivery import Skipped
from streamer.ports import Record, TopicPartition
from streamer.runner.admission import admit, admit_all
from streamer.runner.intake import Intake
from streamer.runner.outgoing import Message, Outgoing, dead_letter
from streamer.runner.patience import Patience
from streamer.runner.phases import CatchUp, Phase
from streamer.runner.positions import Jump, Positions, n_lost
from streamer.runner.recovery import Found
from streamer.runner.start import LogBounds, ask_for_texts, must_read
from streamer.silence import QUIET_S, Silence
from streamer.telemetry import Telemetry

GOOD = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'
TP = TopicPartition("interactions", 0)


@pytest.fixture
def clock() -> ManualClock:
    """Moves when told to."""
    return ManualClock()


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    """Metrics of one worker."""
    return Telemetry(clock)


@pytest.fixture
def stop() -> threading.Event:
    """Set to stop."""
    return threading.Event()


@pytest.fixture
def patience(stop: threading.Event, clock: ManualClock, telemetry: Telemetry) -> Patience:
    """Pauses of 4 s at most, 10 s to drain."""
    return Patience(stop, 4.0, 10.0, clock, telemetry)


def failing(n_times: int, then: Callable[[], Any] = lambda: None) -> Callable[[], Any]:
    """An action that is away `n_times`, then works."""
    left = [n_times]

    def action() -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise Unavailable(f"away, {left[0]} more times")
        return then()

    return action


def impatient(dependency: str, action: Callable[[], None]) -> None:
    """Repeats at once."""
    for _ in range(10):
        try:
            return action()
        except Unavailable:
            continue
    raise Unavailable(dependency)


# --- patience ---


def test_a_call_is_repeated_until_it_works(
    patience: Patience, clock: ManualClock, telemetry: Telemetry
) -> None:
    """Readiness turns red meanwhile, failures are counted, pauses never exceed the limit."""
    telemetry.health.catching_up = False
    seen = []

    def then() -> str:
        seen.append(telemetry.health.why_not_ready())
        return "done"

    began_s = clock.monotonic_s()
    assert patience("redis", failing(20, then)) == "done"
    assert seen == [["redis is away"]]
    assert telemetry.health.why_not_ready() == []
    assert telemetry.registry.get_sample_value("streamer_unavailable_total", {"dependency": "redis"}) == 20
    assert 0.1 < clock.monotonic_s() - began_s <= 20 * 4.0


def test_the_main_loop_counts_as_turning_while_it_waits(
    patience: Patience, clock: ManualClock, telemetry: Telemetry
) -> None:
    """A dependency that is away must not get the worker restarted."""
    telemetry.health.begin()

    def still_away() -> None:
        assert telemetry.health.is_live()
        if clock.monotonic_s() < 300:
            raise Unavailable("away")

    patience("kafka", still_away)


def test_a_limit_ends_the_patience(patience: Patience, clock: ManualClock) -> None:
    """At a start one does not wait for ever."""
    with pytest.raises(Unavailable, match="away"):
        patience("kafka", failing(10**9), 10.0)
    assert 10.0 <= clock.monotonic_s() < 15.0


def test_stopping_ends_the_patience_after_the_drain_timeout(
    patience: Patience, clock: ManualClock, stop: threading.Event
) -> None:
    """What was folded gets its chance to be written, but not for ever."""
    stop.set()
    with pytest.raises(Unavailable):
        patience("redis", failing(10**9))
    assert 10.0 <= clock.monotonic_s() < 15.0


def test_a_stop_ends_a_long_pause(telemetry: Telemetry) -> None:
    """Who stops us does not have to wait for the next try."""
    stop = threading.Event()

    class StopsAt(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.monotonic_s() >= 20.0:
                stop.set()

    clock = StopsAt()
    tries: list[float] = []

    def away() -> None:
        tries.append(clock.monotonic_s())
        raise Unavailable("away")

    patience = Patience(stop, 5000.0, 1.0, clock, telemetry)
    with pytest.raises(Unavailable):
        patience("redis", away)
    assert clock.monotonic_s() < 25.0
    assert min(at_s for at_s in tries if at_s >= 20.0) < 20.5  # at once, not when the second to drain is over


def test_other_errors_pass_at_once(patience: Patience, clock: ManualClock) -> None:
    """Only a dependency that is away is worth waiting for."""
    with pytest.raises(ZeroDivisionError):
        patience("redis", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        patience("redis", failing(1, lambda: 1 / 0))
    assert clock.monotonic_s() < 1.0


# --- positions ---


def record(
    offset: int, value: bytes | None = GOOD, topic: str = "interactions", key: bytes | None = None
) -> Record:
    """A record of partition 0."""
    return Record(topic, 0, offset, 0, key, value)


def test_offsets_in_a_row_are_no_jump() -> None:
    """The first record of a partition may have any offset that the log begins with."""
    positions = Positions({TP: 5}, {})
    assert positions.advance([record(5), record(6)]) == []
    assert positions.advance([record(9)]) == [Jump(TP, 7, 9)]
    assert positions.advance([record(3), record(4), record(6)]) == [Jump(TP, 10, 3), Jump(TP, 5, 6)]
    assert positions.snapshot() == {TP: 7}
    assert positions.by_name() == {"interactions-0": 7}


@pytest.mark.parametrize(
    ("expected", "got", "begin", "lost"),
    [
        (5, 7, 0, 0),  # a marker, or compacted away
        (5, 7, 7, 2),  # retention overtook us
        (5, 9, 7, 2),  # two are gone, then there are holes
        (5, 7, 90, 2),  # retention went on meanwhile
        (5, 0, 0, None),  # cut off, or made anew
    ],
)
def test_what_is_lost_is_what_the_log_no_longer_holds(
    expected: int, got: int, begin: int, lost: int | None
) -> None:
    """A hole alone is no loss."""
    assert n_lost(Jump(TP, expected, got), {TP: begin}) == lost


def test_lag_and_what_is_left() -> None:
    """Lag is counted by topic, over its partitions."""
    other = TopicPartition("interactions", 1)
    catalog = TopicPartition("catalog", 0)
    positions = Positions({TP: 5, other: 0, catalog: 2}, {})
    end = {TP: 8, other: 1, catalog: 2}
    assert positions.lag(end) == {"interactions": 4, "catalog": 0}
    assert positions.left(end, ["catalog"]) == {}
    assert positions.left(end, ["catalog", "interactions"]) == {TP: 5, other: 0}


# --- what was on the log at the start ---


@pytest.mark.parametrize(("n_there", "then"), [(5, Phase.READING), (3, Phase.PUBLISHING)])
def test_silence_alone_is_not_the_end(
    patience: Patience, clock: ManualClock, n_there: int, then: Phase
) -> None:
    """A log that was away, or is slow, says nothing for long: only where it holds no more record is all of it read."""
    settings, log = Settings(), MemoryLog({"interactions": 1, "catalog": 1, "profiles": 1, "texts": 1})
    for n in range(n_there):
        log.append("interactions", 0, None, b"%d" % n)
    source = MemorySource(log, list(settings.kinds()), "g", clock=clock)
    catch_up = CatchUp(settings, source, Positions({TP: 3}, {}), {TP: 5}, patience, clock, lambda: None)
    catch_up.begin(seek=False)
    assert catch_up.look(Phase.READING, any_records=False) is Phase.READING
    clock.advance(QUIET_S)
    assert catch_up.look(Phase.READING, any_records=False) is then


def test_the_end_is_asked_for_until_the_log_answers(clock: ManualClock) -> None:
    """A log that is away when it is asked is asked again at once; one that has more, after another silence."""
    log = MemoryLog({"interactions": 1})
    silence = Silence(MemorySource(log, ["interactions"], "g", clock=clock), clock)
    clock.advance(QUIET_S)
    log.down = True
    with pytest.raises(Unavailable):
        silence.is_the_end({TP: 0})
    log.down = False
    log.append("interactions", 0, None, b"v")
    assert not silence.is_the_end({TP: 0})
    assert not silence.is_the_end({TP: 1})
    clock.advance(2 * QUIET_S)
    assert silence.is_the_end({TP: 1})
    silence.broken()
    assert not silence.is_the_end({TP: 1})


def test_a_reader_who_lost_his_place_is_put_back(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """He hears nothing of what is there: he is told where to go on. At the end of the log there is nothing to hear."""
    log = MemoryLog({"interactions": 1})
    source, sought = MemorySource(log, ["interactions"], "g", clock=clock), list[Any]()
    monkeypatch.setattr(source, "seek", sought.append)
    silence = Silence(source, clock)
    log.append("interactions", 0, None, b"v")
    clock.advance(QUIET_S)
    assert not silence.is_the_end({TP: 0})
    assert sought == [{TP: 0}]
    clock.advance(1.9 * QUIET_S)  # a log that is merely slow has ever more time
    assert not silence.is_the_end({TP: 1})
    clock.advance(0.1 * QUIET_S)
    assert silence.is_the_end({TP: 1})
    assert sought == [{TP: 0}]


# --- intake ---


class _Outbox:
    """Keeps what was added: the seam of `Outgoing` that `Intake` uses."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.n_settled = 0
        self.committed: dict[TopicPartition, int] = {}  # by the intake, once all is settled

    def add(self, message: Message) -> None:
        self.messages.append(message)

    def send(self) -> None:
        pass

    def settle(self) -> None:
        self.n_settled += 1


def make_intake(
    telemetry: Telemetry,
    oldest: Mapping[TopicPartition, int] | None = None,
    committed: int = 0,
    on_asked: Callable[[], None] = lambda: None,
    **settings: Any,
) -> tuple[Intake, _Outbox]:
    """An intake at offset 0 of `interactions`, and what it sends out."""
    outbox = _Outbox()
    positions = Positions({TP: 0}, {TP: committed})
    intake = Intake(
        Settings(**settings),
        positions,
        outbox,  # type: ignore[arg-type]
        lambda: on_asked() or oldest or {TP: 0},
        outbox.committed.update,
        telemetry,
    )
    return intake, outbox


def taken_in(intake: Intake, records: list[Record]) -> Mapping[str, int]:
    """How many of the batch were usable, by topic; it comes through the front door."""
    return intake.take(records, admit_all(records, Settings().kinds(), 1000))


def test_invalid_messages_become_dead_letters_as_they_came(telemetry: Telemetry) -> None:
    """Key and value untouched; the headers say where it came from and what is wrong with it."""
    intake, outbox = make_intake(telemetry)
    n_usable = taken_in(intake, [record(0), record(1, b'{"user_id":"u"}', key=b"\xff"), record(2, b"\x00")])
    assert dict(n_usable) == {"interactions": 1}
    first, second = outbox.messages
    assert first[:3] == ("dead-letters", b"\xff", b'{"user_id":"u"}')
    assert first.headers is not None
    assert {name: first.headers[name] for name in ("topic", "partition", "offset", "reason", "path")} == {
        "topic": b"interactions",
        "partition": b"0",
        "offset": b"1",
        "reason": b"schema",
        "path": b"$.item_id",
    }
    assert second.headers is not None
    assert second.headers["reason"] == b"json"
    value = telemetry.registry.get_sample_value
    assert value("streamer_events_total", {"topic": "interactions", "outcome": "invalid"}) == 2
    assert value("streamer_dead_letters_total", {"reason": "json"}) == 1


def test_a_second_reading_sends_no_second_dead_letter(telemetry: Telemetry) -> None:
    """After a restart the log is read again; what lies below the committed position was dealt with."""
    intake, outbox = make_intake(telemetry, committed=2, max_invalid_in_a_row=1)
    taken_in(intake, [record(0, b"x"), record(1, b"x"), record(2, b"x")])
    assert [message.headers["offset"] for message in outbox.messages if message.headers] == [b"2"]


def test_the_first_dead_letter_of_its_kind_is_a_warning(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader of the log sees that something is wrong, and where; a flood of the same does not drown the rest."""
    caplog.set_level(logging.WARNING, "streamer.runner")
    intake, _ = make_intake(telemetry)
    taken_in(intake, [record(0, b"x"), record(1, b"x")])
    taken_in(intake, [record(2, b"x"), record(3, b"{}")])
    told = [
        (line.__dict__["reason"], line.__dict__["offset"])
        for line in caplog.records
        if line.getMessage() == "dead_letter"
    ]
    assert told == [("json", 0), ("schema", 3)]


def test_too_many_in_a_row_stop_the_worker(telemetry: Telemetry) -> None:
    """N are borne, N + 1 are not; a good one starts the count again. The dead letters are safe by then."""
    intake, outbox = make_intake(telemetry, max_invalid_in_a_row=2)
    taken_in(intake, [record(0, b"x"), record(1, b"x"), record(2), record(3, b"x"), record(4, b"x")])
    assert outbox.n_settled == 0
    with pytest.raises(
        TooManyInvalid, match=r"interactions\[0\]@5: 3 messages in a row.*max_invalid_in_a_row"
    ):
        taken_in(intake, [record(5, b"x")])
    assert (len(outbox.messages), outbox.n_settled) == (5, 1)


def test_a_stop_for_too_many_commits_what_got_its_letter(telemetry: Telemetry) -> None:
    """Up to the last refused record, in any partition: those behind it have no letter yet. No commit goes back."""
    intake, outbox = make_intake(telemetry, committed=3, max_invalid_in_a_row=1)
    catalog, profiles = TopicPartition("catalog", 0), TopicPartition("profiles", 0)
    with pytest.raises(TooManyInvalid):
        taken_in(
            intake,
            [
                record(0, b"x"),
                *(record(4 + n, b"x", "catalog") for n in range(2)),
                *(record(6 + n, b"x", "catalog") for n in range(2)),
                record(7, b"x", "profiles"),
            ],
        )
    assert outbox.committed == {TP: 3, catalog: 6, profiles: 7}


def test_what_a_full_table_refused_is_not_counted_as_learned(telemetry: Telemetry) -> None:
    """Of seven interactions one was a duplicate and there was no room for two: four were learned. So of every topic."""
    intake, _ = make_intake(telemetry)
    skipped: Skipped = Counter(
        {("interactions", "duplicate"): 1, ("interactions", "refused"): 2, ("catalog", "refused"): 1}
    )
    intake.count({"interactions": 7, "catalog": 3}, skipped)
    intake.count({"catalog": 1}, Counter())
    value = lambda topic, outcome: telemetry.registry.get_sample_value(  # noqa: E731
        "streamer_events_total", {"topic": topic, "outcome": outcome}
    )
    assert [value("interactions", outcome) for outcome in ("duplicate", "refused", "learned")] == [1, 2, 4]
    assert [value("catalog", outcome) for outcome in ("refused", "learned")] == [1, 3]


def test_a_gap_is_counted_and_the_stream_goes_on(telemetry: Telemetry) -> None:
    """Unless the settings say otherwise."""
    intake, _ = make_intake(telemetry, {TP: 4})
    assert taken_in(intake, [record(0), record(4)]) == {"interactions": 2}
    value = telemetry.registry.get_sample_value
    assert value("streamer_log_gaps_total", {"topic": "interactions"}) == 1
    assert value("streamer_log_gap_records_total", {"topic": "interactions"}) == 3


def test_a_gap_stops_where_the_settings_say_so(telemetry: Telemetry) -> None:
    """on_log_gap = stop."""
    intake, _ = make_intake(telemetry, {TP: 4}, on_log_gap="stop")
    with pytest.raises(LogGap, match=r"interactions\[0\]: expected offset 1, got 4: 3 records are gone"):
        taken_in(intake, [record(0), record(4)])


def test_holes_are_no_gaps(telemetry: Telemetry) -> None:
    """Markers of transactions on interactions, compaction on the catalog."""
    intake, _ = make_intake(telemetry, on_log_gap="stop")
    taken_in(intake, [record(0), record(2)])
    catalog = b'{"item_id":"i","timestamp":1}'
    taken_in(intake, [record(3, catalog, "catalog"), record(9, catalog, "catalog")])
    begins_late, _ = make_intake(telemetry, {TopicPartition("catalog", 0): 8}, on_log_gap="stop")
    taken_in(
        begins_late, [record(3, catalog, "catalog"), record(9, catalog, "catalog")]
    )  # compacted at its head, too


def test_the_log_is_asked_once_a_batch(telemetry: Telemetry) -> None:
    """A transactional producer leaves a marker behind each transaction: hundreds of jumps, and not a round trip for each."""
    asked = []
    intake, _ = make_intake(telemetry, on_asked=lambda: asked.append(None))
    taken_in(intake, [record(n) for n in range(0, 100, 2)])
    taken_in(intake, [record(n) for n in range(99, 105)])
    assert len(asked) == 1
    taken_in(intake, [record(n) for n in range(106, 120, 2)])
    assert len(asked) == 2


def test_a_log_that_was_made_anew_is_a_gap(telemetry: Telemetry) -> None:
    """Offsets that go back: what lies there was learned, or is of another log, so it stops whatever on_log_gap says."""
    intake, _ = make_intake(telemetry, on_log_gap="continue")
    with pytest.raises(LogGap, match="cut off or made anew"):
        taken_in(intake, [record(0), record(1), record(0)])


def test_a_log_whose_beginning_went_unread_is_a_gap(telemetry: Telemetry) -> None:
    """Committed at 3, but the log begins at 5: two were never read. What was read before is only told."""
    intake, _ = make_intake(telemetry, on_log_gap="stop")
    intake.look_at_start({TP: 5}, {TP: 7})
    intake.look_at_start({TP: 5}, {})
    with pytest.raises(LogGap, match="2 records are gone"):
        intake.look_at_start({TP: 5}, {TP: 3})


# --- outgoing ---


class _FlakySink(MemorySink):
    """Fails when told to: at a send, at a flush, or for what is too large."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.send_fails = self.flush_fails = 0
        self.max_bytes = 10**9

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        if self.send_fails:
            self.send_fails -= 1
            raise Unavailable("send")
        if len(key or b"") + len(value or b"") > self.max_bytes:
            raise InvalidEvent("size", "$", "too large")
        super().send(topic, key, value, headers)

    def flush(self, timeout_s: float) -> None:
        if self.flush_fails:
            self.flush_fails -= 1
            raise Unavailable("flush")
        super().flush(timeout_s)


@pytest.fixture
def log() -> MemoryLog:
    """One topic, `out`."""
    return MemoryLog({"out": 1})


@pytest.fixture
def sink(log: MemoryLog) -> _FlakySink:
    """Writes to `log`."""
    return _FlakySink(log)


def values(log: MemoryLog) -> list[bytes | None]:
    """What lies on `out`."""
    return [record.value for record in log.records("out")]


def test_messages_go_out_once_when_all_is_well(log: MemoryLog, sink: _FlakySink) -> None:
    """In their order; nothing is kept after `settle`."""
    outgoing = Outgoing(sink, impatient)
    for n in range(3):
        outgoing.add(Message("out", b"k", bytes([n])))
        outgoing.send()
    outgoing.settle()
    outgoing.settle()
    assert values(log) == [b"\0", b"\1", b"\2"]


def test_after_a_failed_flush_everything_is_sent_again(log: MemoryLog, sink: _FlakySink) -> None:
    """Any of them may be lost: rather twice than never, and the last word on a key stays the last."""
    outgoing = Outgoing(sink, impatient)
    sink.flush_fails = 1
    for n in range(2):
        outgoing.add(Message("out", b"k", bytes([n])))
    outgoing.settle()
    assert values(log) == [b"\0", b"\1", b"\0", b"\1"]


def test_after_a_failed_send_everything_is_sent_again(log: MemoryLog, sink: _FlakySink) -> None:
    """A sink that fails may have dropped what it took before."""
    outgoing = Outgoing(sink, impatient)
    outgoing.add(Message("out", b"k", b"0"))
    outgoing.send()
    sink.send_fails = 1
    outgoing.add(Message("out", b"k", b"1"))
    outgoing.settle()
    assert values(log) == [b"0", b"0", b"1"]


def test_what_kafka_finds_too_large_is_cut(log: MemoryLog, sink: _FlakySink) -> None:
    """A message that cannot be stored whole must not stop the stream; the header says so."""
    outgoing = Outgoing(sink, impatient)
    sink.max_bytes = 100_000
    outgoing.add(Message("out", None, b"small"))
    outgoing.add(Message("out", None, b"x" * 300_000, {"reason": b"size"}))
    outgoing.settle()
    assert [len(value or b"") for value in values(log)][-2:] == [5, 75_000]
    assert log.records("out")[-1].headers == (("reason", b"size"), ("cut_to_bytes", b"75000"))


def test_a_key_that_kafka_finds_too_large_is_cut(log: MemoryLog, sink: _FlakySink) -> None:
    """Who writes a message may give it any key: one as large as a message may be leaves no room for the letter's headers."""
    outgoing = Outgoing(sink, impatient)
    sink.max_bytes = 100_000
    outgoing.add(Message("out", b"k" * 99_999, b"xx"))
    outgoing.add(Message("out", b"small", None))
    outgoing.settle()
    cut, small = sorted(log.records("out"), key=lambda record: -len(record.key or b""))
    assert (cut.key, cut.value) == (b"k" * 1024, b"xx")
    assert [name for name, _ in cut.headers] == ["cut_to_bytes"]
    assert (small.key, small.value, small.headers) == (b"small", None, ())


def test_much_is_settled_early(log: MemoryLog, sink: _FlakySink) -> None:
    """Memory stays bounded, however rarely positions are committed."""
    outgoing = Outgoing(sink, impatient)
    for _ in range(17):
        outgoing.add(Message("out", None, b"x" * (1 << 20)))
    sink.flush_fails = 1  # would be noticed by a flush only
    outgoing.send()
    assert len(values(log)) == 34


def test_what_was_settled_is_counted_no_more(log: MemoryLog, sink: _FlakySink) -> None:
    """Much was sent and acknowledged: the next small message waits for nobody."""
    outgoing = Outgoing(sink, impatient)
    outgoing.add(Message("out", None, b"x" * (17 << 20)))
    outgoing.settle()
    outgoing.add(Message("out", None, b"small"))
    sink.flush_fails = 1
    outgoing.send()
    assert sink.flush_fails == 1  # nobody flushed
    assert values(log)[1:] == [b"small"]


def test_a_tombstone_that_is_replayed_is_as_old_as_its_record() -> None:
    """It erases what there is by now; what a user did is as old as it first was."""
    headers = ((LOG_MS, b"5"),)
    tombstone = Record("profiles", 0, 0, 90, b"u", None, headers)
    assert admit(tombstone, "profiles", 1000) == (UserErased("u"), 90)
    assert admit(Record("interactions", 0, 0, 90, b"u", GOOD, headers), "interactions", 1000)[1] == 5


def test_a_dead_letter_takes_any_text_in_its_headers() -> None:
    """A path may quote half a surrogate pair."""
    letter = dead_letter("dead-letters", record(0), InvalidEvent("schema", "$.\ud800", "\udfff"))
    assert letter.headers is not None
    assert letter.headers["path"] == b"$.\\ud800"


def test_a_producer_who_writes_seconds_is_told_of_once(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside others who write milliseconds, with the place of the first; the event is taken as the contract has it. Text means
    what it says, and small numbers may be anything."""
    caplog.set_level(logging.WARNING, "streamer.runner")
    intake, outbox = make_intake(telemetry)
    times = ["1700000000000", '"1971-01-01T00:00:00Z"', "5", "1700000000", "1700000000"]
    values = [b'{"user_id":"u","item_id":"i","type":"view","timestamp":%b}' % time.encode() for time in times]
    for begin in (0, 5):
        records = [Record("interactions", 0, begin + n, -1, b"u", value) for n, value in enumerate(values)]
        assert taken_in(intake, records) == {"interactions": 5}
    told = [line.__dict__ for line in caplog.records if line.getMessage() == "timestamps_in_seconds"]
    assert [(line["topic"], line["partition"], line["offset"]) for line in told] == [("interactions", 0, 3)]
    assert outbox.messages == []


@pytest.mark.parametrize(
    ("ahead_s", "shown"),
    [(60.001, "60.001 s"), (599, "599 s"), (36_000, "10.0 h"), (10**8, "1,157.4 d")],
)
def test_how_far_an_event_is_ahead_is_said_in_units_for_people(ahead_s: float, shown: str) -> None:
    """To the millisecond where that is short: a limit may be missed by one."""
    value = b'{"user_id":"u","item_id":"i","type":"view","timestamp":%d}' % (1000 + round(1000 * ahead_s))
    with pytest.raises(
        InvalidEvent, match=f"expected at most 60 s after the log's own time, got {re.escape(shown)}$"
    ):
        admit(Record("interactions", 0, 0, 1000, b"u", value), "interactions", 60_000)


def test_refused_messages_are_let_go_with_their_batch() -> None:
    """No cycle keeps them: cycles are looked for seldom, and a message may have a quarter of a megabyte."""
    refused = [b"{", b'{"user_id":"u"}', b"\xff", b"[" * 500, b'{"value":NaN}']
    gc.collect()
    gc.disable()
    try:
        admitted = admit_all([record(n, value) for n, value in enumerate(refused)], Settings().kinds(), 1000)
        assert len(admitted.refused) == len(refused)
        del admitted
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_log_may_lack_what_a_checkpoint_holds() -> None:
    """Only partitions that begin behind the place from which the fold goes on are looked at; a new one has no place yet."""
    old, gone, new = (TopicPartition("interactions", n) for n in range(3))
    meta = Meta({}, [("interactions", 0, 7), ("interactions", 1, 7)], 0, 0, 0, "test")
    bounds = LogBounds({old: 7, gone: 8, new: 1}, {}, {old: 9})
    assert must_read(bounds, Found(meta, None)) == ({gone: 8, new: 1}, {old: 7, gone: 7})  # type: ignore[arg-type]
    assert must_read(bounds, None) == (bounds.begin, bounds.committed)


def test_a_catalog_is_not_read_twice_for_nothing(clock: ManualClock) -> None:
    """Where every text has its vector, the log is not even asked."""
    catalog = TopicPartition("catalog", 0)
    found: Any = Found(Meta({}, [("catalog", 0, 7)], 0, 0, 0, "test"), None)  # type: ignore[arg-type]
    nobody: Any = None
    bounds = LogBounds({catalog: 0}, {catalog: 7}, {})
    ask_for_texts(Settings(), nobody, bounds, found, set(), nobody, nobody, clock)
