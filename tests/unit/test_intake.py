"""What becomes of records: events, dead letters, gaps."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from runner_records import TP, record

from streamer.config import Settings
from streamer.errors import LogGap, TooManyInvalid
from streamer.pipeline.delivery import Skipped
from streamer.ports import Record, TopicPartition
from streamer.runner.admission import admit_all
from streamer.runner.intake import Intake
from streamer.runner.outgoing import Message
from streamer.runner.positions import Positions
from streamer.telemetry import Telemetry


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
    """A gap ends the worker where on_log_gap says stop."""
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
    # compacted at its head, too
    taken_in(begins_late, [record(3, catalog, "catalog"), record(9, catalog, "catalog")])


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
