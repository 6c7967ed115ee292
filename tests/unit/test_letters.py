"""Dead letters: what they say, and which of them go back; on a log in memory, with the intake as the front door."""

import json
from typing import Any

import pytest

from streamer.adapters.memory import ManualClock, MemoryLog, MemorySink, MemorySource
from streamer.cli.dlq import Counts, Wanted, head, overview, place_of
from streamer.cli.dlq_replay import Repair, Replay, Replayed
from streamer.config import Settings
from streamer.errors import ConfigError, DataError, Unavailable
from streamer.letters import LOG_MS, Letter, Lineage, Place, letter_of, lineage_of, log_ms_of
from streamer.ports import Record, TopicPartition
from streamer.runner.admission import admit_all
from streamer.runner.intake import Intake
from streamer.runner.outgoing import Outgoing
from streamer.runner.positions import Positions
from streamer.telemetry import Telemetry

SETTINGS = Settings()
NOW_MS = 1_700_000_000_000  # of the log
HOUR_S = 3600
GOOD = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'


def early(user_id: str = "u") -> bytes:
    """An event of the future, as the log has it at first."""
    event = {"user_id": user_id, "item_id": "i", "type": "view", "timestamp": NOW_MS + HOUR_S * 1000}
    return json.dumps(event).encode()


class Office:
    """A log, the front door of a worker, and `streamer dlq replay` on them."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        topics = {"interactions": 1, "catalog": 1, "profiles": 1, "texts": 1, "dead-letters": 1}
        self.log = MemoryLog(topics, clock=self.clock)
        self.learned: list[Any] = []
        self.told: list[str] = []
        outgoing = Outgoing(MemorySink(self.log), lambda _, action: action())
        positions = Positions({TopicPartition(topic, 0): 0 for topic in ("interactions", "catalog")}, {})
        telemetry = Telemetry(ManualClock())
        self._intake = Intake(SETTINGS, positions, outgoing, dict, lambda _: None, telemetry)
        self._source = MemorySource(self.log, ["interactions", "catalog"], "g", clock=ManualClock())

    def work(self) -> None:
        """The worker reads what there is."""
        records = self._source.poll(100, 0)
        admitted = admit_all(records, SETTINGS.kinds(), SETTINGS.max_skew_s * 1000)
        self._intake.take(records, admitted)
        self.learned += admitted.events

    def write(self, value: bytes | None, key: bytes | None = b"u", topic: str = "interactions") -> None:
        """A producer writes, and the worker reads."""
        self.log.append(topic, 0, key, value)
        self.work()

    def write_early(self, n: int, user_id: str = "u") -> None:
        """Events of the next hour are letters, which will be good as they are when it has passed."""
        for _ in range(n):
            self.write(early(user_id), user_id.encode())

    def letters(self) -> list[Letter]:
        """As they lie there; notes left out."""
        return [letter for r in self.log.records("dead-letters") if (letter := letter_of(r)) is not None]

    def replay(
        self,
        *places: str,
        repair: Repair | None = None,
        again: bool = False,
        n_most: int = 100,
        **wanted: str,
    ) -> Replayed:
        """Replay, then let the worker read."""
        source = MemorySource(self.log, ["dead-letters"], "g", clock=ManualClock())
        meant = Wanted(places=frozenset(map(place_of, places)), **wanted)
        self.told.clear()
        try:
            keyed = MemorySource(self.log, ["catalog", "profiles"], "g", clock=ManualClock())
            sink, told = MemorySink(self.log), self.told.append
            replay = Replay(SETTINGS, source, keyed, sink, repair, tell=told, now_ms=self.clock.now_ms)
            return replay.run(meant, n_most, again=again)
        finally:
            self.work()


@pytest.fixture
def office() -> Office:
    """Nothing has come yet."""
    return Office()


def test_a_repaired_message_goes_through_the_front_door(office: Office) -> None:
    """It is learned, under its key, and its headers say which letter it was; no letter comes of it."""
    office.write(b"{")
    assert office.replay("0:0", repair=Repair(GOOD, None)) == (1, 0, 0)
    assert [event.user_id for event in office.learned] == ["u"]
    sent = office.log.records("interactions")[-1]
    assert (sent.key, sent.value) == (b"u", GOOD)
    assert dict(sent.headers) == {
        "streamer-dlq-partition": b"0",
        "streamer-dlq-offset": b"0",
        "streamer-dlq-attempt": b"1",
        "streamer-dlq-log-ms": b"%d" % NOW_MS,
    }
    assert len(office.letters()) == 1


def test_a_key_can_be_repaired(office: Office) -> None:
    """A message under the key of somebody else."""
    office.write(GOOD, key=b"somebody")
    assert office.letters()[0].reason == "key"
    office.replay("0:0", repair=Repair(GOOD, b"u"))
    assert [event.user_id for event in office.learned] == ["u"]


def test_one_that_is_still_bad_comes_back_with_its_lineage(office: Office) -> None:
    """As a new letter, with a new reason where that has changed; the old one is not sent again."""
    office.write(b"{")
    office.replay("0:0", repair=Repair(b'{"user_id":"u"}', None))
    assert "will refuse it" in office.told[0]
    old, new = office.letters()
    assert (old.lineage, old.reason) == (None, "json")
    assert (new.lineage, new.reason, new.path) == (Lineage(old.place, 1), "schema", "$.item_id")
    assert office.replay("0:0", again=True) == (0, 1, 0)
    assert f"came back as {new.place}" in office.told[0]


def test_nothing_goes_round_for_ever(office: Office) -> None:
    """However often everything is replayed, a message is sent three times in all."""
    office.write(b"{")
    for n in range(10):
        office.replay(*(str(letter.place) for letter in office.letters()), again=n % 2 == 0)
    assert len(office.log.records("interactions")) == 1 + 3
    newest = office.letters()[-1]
    assert newest.n_sent == 3
    assert office.replay(str(newest.place)) == (0, 1, 0)
    assert "replayed 3 times" in office.told[0]


def test_what_was_replayed_once_is_not_replayed_by_the_next_call(office: Office) -> None:
    """Also where it did not come back, as a message that this worker could use would not; `again` sends it."""
    office.write(b"{")
    assert office.replay("0:0", repair=Repair(GOOD, None)).n_sent == 1
    assert office.replay() == (0, 0, 1)
    assert office.replay("0:0", repair=Repair(GOOD, None)) == (0, 1, 0)
    assert office.replay("0:0", repair=Repair(GOOD, None), again=True) == (1, 0, 0)
    assert lineage_of(office.log.records("interactions")[-1]) == Lineage(Place(0, 0), 2)


def test_a_letter_that_lies_there_twice_is_sent_once(office: Office) -> None:
    """A worker that was cut off sends its dead letters again."""
    office.write_early(1)
    office.clock.advance(HOUR_S)
    letter = office.log.records("dead-letters")[0]
    office.log.append("dead-letters", 0, letter.key, letter.value, headers=dict(letter.headers))  # type: ignore[arg-type]
    assert office.replay() == (1, 0, 1)
    assert len(office.log.records("interactions")) == 2


def test_a_replay_that_is_cut_off_loses_no_message(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the message, then the note that it was sent: rather twice than never."""
    office.write(b"{")
    send, sent = MemorySink.send, list[str]()

    def send_once(sink: MemorySink, topic: str, *message: Any) -> None:
        if sent:
            raise Unavailable("cut off")
        sent.append(topic)
        send(sink, topic, *message)

    with monkeypatch.context() as patch:
        patch.setattr(MemorySink, "send", send_once)
        patch.setattr(office, "work", lambda: None)
        with pytest.raises(Unavailable):
            office.replay("0:0", repair=Repair(GOOD, None))
    assert sent == ["interactions"]
    assert office.replay("0:0", repair=Repair(GOOD, None)).n_sent == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}', "this is an interaction"),
        (b'{"item_id":"i","title":"a lamp","timestamp":1764126000}', "expected milliseconds"),
    ],
)
def test_what_is_hardly_meant_is_no_repair(office: Office, value: bytes, why: str) -> None:
    """The contract allows it, and an item would lose title and features, or be of 1970: not sent, though it is named."""
    office.write(b"{", b"i", topic="catalog")
    assert office.replay("0:0", repair=Repair(value, None)) == (0, 1, 0)
    assert why in office.told[-1]
    assert len(office.log.records("catalog")) == 1


def test_the_limit_and_the_filters(office: Office) -> None:
    """The oldest first; those that the reason or the topic name."""
    office.write(b"{")
    for user_id in ("u", "v"):
        office.write_early(1, user_id)
    office.clock.advance(HOUR_S)
    assert office.replay(reason="future", n_most=1) == (1, 1, 0)
    assert "--limit" in office.told[-1]
    assert office.log.records("interactions")[-1].value == early("u")
    assert office.replay(topic="catalog") == (0, 0, 0)
    assert "no letter has that reason and topic" in office.told[-1]
    assert office.replay(reason="future", n_most=1) == (1, 0, 1)  # those replayed before are not what is left


def test_what_will_be_refused_again_is_sent_where_it_is_named_alone(office: Office) -> None:
    """Of many letters those go that this version can use; the others are named, and not sent for nothing."""
    office.write(b"{")
    office.write_early(1)
    assert office.replay() == (0, 2, 0)
    assert [told.split(":")[2] for told in office.told] == [" this version of streamer will refuse it"] * 2
    assert "after the log's own time" in office.told[1]
    office.clock.advance(HOUR_S)
    assert office.replay() == (1, 1, 0)
    assert [event.user_id for event in office.learned] == ["u"]
    assert office.replay("0:0") == (1, 0, 0)
    assert "will refuse it" in office.told[0]


# --- what lies there ---


def seen(office: Office, n_shown: int = 10, **wanted: str) -> tuple[Counts, list[tuple[str, str]]]:
    """The counts, and (place, replayed) of each letter that is shown."""
    source = MemorySource(office.log, ["dead-letters"], "g", clock=ManualClock())
    counts, rows = overview(source, Wanted(**wanted), n_shown)
    return counts, [(row[0], row[-2]) for row in rows]


def test_the_list_tells_what_became_of_each_letter(office: Office) -> None:
    """Replayed, come back as another, or open: those are counted. The notes of the replays lie at 0:3 and 0:4."""
    for value in (b"{", b"[", GOOD[:-1]):
        office.write(value)
        office.clock.advance(1)
    assert office.replay("0:0", repair=Repair(GOOD, None)).n_sent == 1
    office.clock.advance(1)
    assert office.replay("0:1").n_sent == 1
    counts, rows = seen(office)
    assert rows == [("0:5", "1x before"), ("0:2", ""), ("0:1", "came back as 0:5"), ("0:0", "replayed")]
    assert (counts.by_reason.total(), counts.n_open) == (4, 2)
    assert [place for place, _ in seen(office, n_shown=2)[1]] == ["0:5", "0:2"]


def test_a_reason_that_no_letter_has_is_told_with_those_there_are(office: Office) -> None:
    """`--reason shcema` would look like all is well otherwise; a reason whose letters are of another topic is no error."""
    office.write(b"{")
    office.write(b'{"user_id":"u"}')
    wanted = Wanted(reason="shcema")
    counts, rows = seen(office, reason="shcema")
    assert rows == []
    assert list(head("letters", counts, wanted)) == [
        "0 on letters",
        "no letter has the reason 'shcema'; there are json, schema",
    ]
    assert list(head("letters", seen(office)[0], Wanted())) == ["2 on letters: 1 json, 1 schema; 2 open"]
    elsewhere = Wanted(reason="json", topic="catalog")
    assert list(head("letters", seen(office, reason="json", topic="catalog")[0], elsewhere)) == [
        "0 on letters",
        "no letter came from topic 'catalog'; they came from interactions",
    ]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "no topic of ours"),
        ({"topic": b"salaries", "partition": b"0", "offset": b"1"}, "no topic of ours"),
        ({"topic": b"interactions", "partition": b"0", "offset": b"x"}, "no topic of ours"),
        ({"topic": b"interactions", "partition": b"0", "offset": b"1", "cut_to_bytes": b"65536"}, "was cut"),
    ],
)
def test_letters_that_cannot_go_back(office: Office, headers: dict[str, bytes], why: str) -> None:
    """A letter of a topic that we do not read, or without its end; whatever anybody wrote there."""
    office.log.append("dead-letters", 0, b"k", b"v", headers=headers)
    assert office.replay("0:0") == (0, 1, 0)
    assert why in office.told[0]
    assert office.log.records("interactions") == []


def test_a_lineage_that_somebody_made_up_blocks_nobody(office: Office) -> None:
    """A producer cannot pass its garbage off as what came of another's letter."""
    office.write(b"{")
    lineage = Lineage(Place(0, 0), 1).headers()
    office.log.append("interactions", 0, b"u", b"[", headers=lineage)
    office.work()
    assert office.letters()[1].lineage == Lineage(Place(0, 0), 1)
    assert office.replay("0:0", repair=Repair(GOOD, None)).n_sent == 1


@pytest.mark.parametrize("attempt", [b"0", b"4", b"-1", b"99999999999999999999", b"x", b""])
def test_numbers_in_headers_are_bounded(attempt: bytes) -> None:
    """What is no lineage of ours is none."""
    headers = {**Lineage(Place(0, 0), 1).headers(), "streamer-dlq-attempt": attempt}
    assert lineage_of(Record("t", 0, 0, 0, None, b"", tuple(headers.items()))) is None


def test_places_and_missing_letters(office: Office) -> None:
    """A place is PARTITION:OFFSET, and one without a letter is reported."""
    for shown in ("17", "0:-1", "a:b", "0:1:2", "\x1b[31m"):
        with pytest.raises(ConfigError, match="PARTITION:OFFSET"):
            place_of(shown)
    office.write(b"{")
    with pytest.raises(DataError, match="no letter at 0:7"):
        office.replay("0:7")


def test_a_letter_without_a_message_is_one(office: Office) -> None:
    """A null value on the interactions cannot be used: the note of a replay, whose value is null, is something else."""
    office.write(None)
    (letter,) = office.letters()
    assert (letter.value, letter.reason) == (None, "schema")
    office.replay("0:0", repair=Repair(json.dumps(json.loads(GOOD)).encode(), None))
    assert len(office.log.records("dead-letters")) == 2
    assert office.letters() == [letter]


# --- users who were erased ---


@pytest.mark.parametrize(
    ("erased_ms", "n_sent"),
    [(NOW_MS - 1, 1), (NOW_MS, 0), (NOW_MS + 5_000, 0)],
    ids=["before", "with", "after"],
)
def test_a_letter_of_a_user_who_was_erased_since_is_left_out(
    office: Office, erased_ms: int, n_sent: int
) -> None:
    """And said; in the millisecond of his message, too, since erasure wins. Who was erased before it came is there again."""
    office.write(GOOD, key=b"somebody")
    office.log.append("profiles", 0, b"other", None, timestamp_ms=NOW_MS + 5_000)
    office.log.append("profiles", 0, b"u", b" null ", timestamp_ms=erased_ms)
    office.clock.advance(10)
    assert office.replay("0:0", repair=Repair(GOOD, b"u")) == (n_sent, 1 - n_sent, 0)
    assert office.told == ["letter 0:0: its user was erased after it was written; not sent"] * (1 - n_sent)


def test_a_letter_that_says_nothing_is_left_out_by_its_key(office: Office) -> None:
    """Garbage of an erased user is his all the same; a catalog's key is no user."""
    office.write(b"{")
    office.log.append("profiles", 0, b"u", None, timestamp_ms=NOW_MS)
    assert office.replay("0:0") == (0, 1, 0)


def test_a_message_is_as_old_as_it_first_was(office: Office) -> None:
    """However often it was replayed, and whatever its own record says now: only ever older, whoever wrote the header."""
    office.write(b"{")
    for _ in range(2):
        office.clock.advance(60)
        office.replay(str(office.letters()[-1].place))
    assert [letter.log_ms for letter in office.letters()] == [NOW_MS] * 3
    for written, known in ((b"5", 5), (b"%d" % (NOW_MS + 1), NOW_MS), (b"-5", NOW_MS), (b"x", NOW_MS)):
        assert log_ms_of(Record("t", 0, 0, NOW_MS, None, b"", ((LOG_MS, written),))) == known
    assert log_ms_of(Record("t", 0, 0, -1, None, b"", ((LOG_MS, b"5"),))) == -1


# --- items and profiles that were written again since ---

LAMP = {"item_id": "lamp", "title": "Lamp"}


def a_record_of_the_next_hour(office: Office) -> None:
    """A catalog record with a clock that is ahead: a letter, and right as it is an hour later."""
    ahead = json.dumps({**LAMP, "timestamp": NOW_MS + HOUR_S * 1000}).encode()
    office.write(ahead, b"lamp", topic="catalog")
    assert office.letters()[0].reason == "future"
    office.clock.advance(HOUR_S)


@pytest.mark.parametrize(
    "since",
    [None, json.dumps({**LAMP, "title": "Lamp, green", "timestamp": NOW_MS}).encode()],
    ids=["retired", "described again"],
)
def test_a_letter_replaces_no_newer_record_unless_it_is_named(office: Office, since: bytes | None) -> None:
    """The last record of an item counts, so a replay would bring back what was retired, or an older title."""
    a_record_of_the_next_hour(office)
    office.write(since, b"lamp", topic="catalog")
    assert office.replay(reason="future") == (0, 1, 0)
    assert "a newer record of 'lamp' is on the log" in office.told[0]
    assert office.replay("0:0") == (1, 0, 0)
    assert "a newer record of 'lamp' is on the log" in office.told[0]


def test_what_nobody_could_use_replaces_nothing(office: Office) -> None:
    """A newer record that became a letter itself, and one of another item, keep nobody from going back."""
    a_record_of_the_next_hour(office)
    office.write(b"{", b"lamp", topic="catalog")
    office.write(
        json.dumps({**LAMP, "item_id": "pen", "timestamp": NOW_MS}).encode(), b"pen", topic="catalog"
    )
    assert office.replay(reason="future") == (1, 0, 0)


def test_a_letter_that_went_back_does_not_stand_in_its_own_way(office: Office) -> None:
    """Its replay is the newest record of its item, and carries the time at which it first came."""
    a_record_of_the_next_hour(office)
    assert office.replay(reason="future") == (1, 0, 0)
    office.clock.advance(1)
    assert office.replay("0:0", again=True) == (1, 0, 0)
    assert office.told == []
