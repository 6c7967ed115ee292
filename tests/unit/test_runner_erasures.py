"""Erased users: what is gone, and the receipt; against the memory twins."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_runner import Worker, World, interaction

from streamer.adapters.memory import MemorySink, MemorySource
from streamer.adapters.memory.receipts import MemoryReceipts
from streamer.adapters.memory.vectors import MemoryVectors
from streamer.cli.erase import erase_by, sentences
from streamer.config import Settings
from streamer.errors import ConfigError, Unavailable
from streamer.ports import VectorEntry
from streamer.runner import Runner

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "receipt.v1.schema.json").read_text())
CAUGHT_UP = 18  # polls: by then all is published
TOMBSTONE = (b"u1", None)
PROFILE = (b"u1", b'{"user_id": "u1", "categorical": {"country": ["France"]}, "timestamp": 1}')


class Office(World):
    """The world of the loop's tests, where users have profiles, vectors and receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.log._clock = self.clock  # tombstones grow old with it
        self.receipts = MemoryReceipts(clock=self.clock)
        self.vectors = MemoryVectors(clock=self.clock)
        self.append(PROFILE, topic="profiles")
        self.append(*(interaction("u1", f"i{n % 3}", 1000 * n) for n in range(30)))
        self.append(interaction("u2", "i7", 50_000))

    def worker(self, **settings: Any) -> Worker:
        """A worker that writes receipts."""
        worker = Worker(self, **settings)
        worker.runner = Runner(
            worker.runner._settings,
            worker.source,
            MemorySink(self.log),
            self.lists,
            clock=self.clock,
            telemetry=worker.telemetry,
            vectors=self.vectors,
            receipts=self.receipts,
        )
        return worker

    def erase(self) -> None:
        """Once the lists are there; he has a vector, too."""
        self.vectors.write_users([VectorEntry("u1", b"\x00\x00", 1, 1, {})], 60)
        self.append(TOMBSTONE, topic="profiles")

    def receipt(self, user_id: str = "u1") -> dict[str, Any] | None:
        """As anybody reads it."""
        value = self.receipts.read([user_id]).get(user_id)
        return None if value is None else json.loads(value)


@pytest.fixture
def office() -> Office:
    """Thirty events of u1, and his profile."""
    return Office()


def test_everything_of_an_erased_user_is_gone_and_counted(office: Office) -> None:
    """List, vector, the row and its recommendations; the receipt says what there was, and where the tombstone lies."""
    office.at_poll[CAUGHT_UP] = office.erase
    office.worker(publish_recommendations=True).run()
    assert office.read("u1") is None
    assert office.vectors.read_user("u1") is None
    assert [r.value is None for r in office.log.records("recommendations") if r.key == b"u1"] == [False, True]
    receipt = office.receipt()
    assert receipt is not None
    jsonschema.validate(receipt, SCHEMA)
    assert receipt["removed"] == {"history": 20, "taken": 3, "profile": True, "list": True, "vector": True}
    assert receipt["position"] == {"topic": "profiles", "partition": 0, "offset": 1}
    assert office.receipt("u2") is None
    assert office.read("u2") is not None


def test_a_receipt_is_written_after_the_keys_are_gone(office: Office) -> None:
    """Whoever waits for the receipt finds nothing any more; a store that is away delays both, and loses neither."""
    found: list[object] = []
    write = office.receipts.write

    def write_and_look(entries: Any, ttl_s: int) -> None:
        if not found:
            found.append((office.lists.read("u1"), office.vectors.read_user("u1")))
            raise Unavailable("away")
        write(entries, ttl_s)

    office.receipts.write = write_and_look  # type: ignore[method-assign]
    office.at_poll[CAUGHT_UP] = office.erase
    office.worker().run()
    assert found == [(None, None)]
    receipt = office.receipt()
    assert receipt is not None
    assert (receipt["removed"]["list"], receipt["removed"]["vector"]) == (True, True)


class KilledError(BaseException):
    """The worker is no more."""


@pytest.mark.parametrize("call", ["lists.delete", "vectors.delete_users", "receipts.write"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_kill_between_the_removal_and_the_receipt(office: Office, call: str, *, is_done: bool) -> None:
    """The next worker reads the tombstone again, and finds nothing of his: what there was is in the note of the one before."""
    owner, name = getattr(office, call.partition(".")[0]), call.partition(".")[2]
    action = getattr(owner, name)

    def killed(entries: Any, *arguments: Any) -> None:
        if not any("u1" in entry for entry in entries):
            return action(entries, *arguments)
        setattr(owner, name, action)
        if is_done:
            action(entries, *arguments)
        raise KilledError

    office.at_poll[CAUGHT_UP] = office.erase
    setattr(owner, name, killed)
    with pytest.raises(KilledError):
        office.worker().run()
    office.worker().run()
    receipt = office.receipt()
    assert receipt is not None
    assert (receipt["removed"]["list"], receipt["removed"]["vector"]) == (True, True)
    assert (office.read("u1"), office.vectors.read_user("u1"), office.receipts.begun(["u1"])) == (
        None,
        None,
        {},
    )


@pytest.mark.parametrize(
    ("offset", "garbage", "is_known"), [(0, b"", False), (1, b"", True), (2, b"", True), (1, b"{", False)]
)
def test_a_note_speaks_of_its_own_tombstone(
    office: Office, offset: int, garbage: bytes, *, is_known: bool
) -> None:
    """And of those before it that were erased along with it; not of later ones, and garbage says nothing. His lies at 1."""
    where = {"topic": "profiles", "partition": 0, "offset": offset}
    note = garbage + json.dumps({**where, "had_list": True, "had_vector": False}).encode()
    office.receipts.begin([("u1", note)], 3600)
    office.append(TOMBSTONE, topic="profiles")
    office.worker().run()
    receipt = office.receipt()
    assert receipt is not None
    assert (receipt["removed"]["list"], receipt["removed"]["vector"]) == (is_known, False)


def test_a_restart_leaves_receipts_as_they_are(office: Office) -> None:
    """The tombstone is read again, with nothing left to count: the first receipt stays, until it expires, and then for ever."""
    office.at_poll[CAUGHT_UP] = office.erase
    office.worker(receipt_ttl_s=3600).run()
    first = office.receipt()
    office.clock.advance(1000)
    office.worker(receipt_ttl_s=3600).run()
    assert office.receipt() == first
    office.clock.advance(3600)
    assert office.receipt() is None
    office.worker(receipt_ttl_s=3600).run()
    assert office.receipt() is None


def test_a_receipt_speaks_of_its_own_time_alone(office: Office) -> None:
    """Who had a history and a vector when he was erased first, and comes back with a profile alone, had neither then."""
    office.at_poll[CAUGHT_UP] = office.erase
    office.at_poll[CAUGHT_UP + 7] = lambda: office.append(PROFILE, topic="profiles")
    office.at_poll[CAUGHT_UP + 14] = lambda: office.append(TOMBSTONE, topic="profiles")
    office.worker().run()
    receipt = office.receipt()
    assert receipt is not None
    assert receipt["position"]["offset"] == 3
    removed = receipt["removed"]
    assert (removed["history"], removed["profile"], removed["vector"]) == (0, True, False)


def test_a_second_tombstone_with_nothing_to_remove_keeps_what_the_receipt_says(office: Office) -> None:
    """What was removed, and when; its place on the log is the second's, so that whoever waits for that one is answered."""
    found: list[dict[str, Any]] = []

    def again() -> None:
        found.append(office.receipt() or {})
        office.clock.advance(60)
        office.append(TOMBSTONE, topic="profiles")

    office.at_poll[CAUGHT_UP] = office.erase
    office.at_poll[CAUGHT_UP + 7] = again
    office.worker().run()
    (first,) = found
    assert first["removed"]["history"] == 20
    assert office.receipt() == {**first, "position": {"topic": "profiles", "partition": 0, "offset": 2}}
    assert office.receipts.begun(["u1"]) == {}


def test_unknown_users_get_a_receipt_too(office: Office) -> None:
    """With nothing in it; several tombstones at once, also written as the JSON literal, count together."""
    office.append((b"nobody", None), (b"u1", b" null "), (b"u1", None), topic="profiles")
    office.worker().run()
    nobody, twice = office.receipt("nobody"), office.receipt()
    assert nobody is not None
    assert twice is not None
    nothing = {"history": 0, "taken": 0, "profile": False, "list": False, "vector": False}
    assert nobody["removed"] == nothing
    assert twice["removed"] == {**nothing, "profile": True}  # a start reads profiles before interactions
    assert twice["position"]["offset"] == 3


# --- streamer erase ---


def asked(office: Office, user_id: str, work: Callable[[float], None]) -> dict[str, Any]:
    """What `streamer erase` returns while `work` is what happens when it waits."""
    source = MemorySource(office.log, ["profiles"], "g", clock=office.clock)
    return erase_by(Settings(), source, MemorySink(office.log), office.receipts, user_id, 2.0, pause=work)


def test_erase_waits_for_its_own_receipt(office: Office) -> None:
    """Not for one that was there before: a worker has to come round and read the tombstone."""
    office.append(TOMBSTONE, topic="profiles")
    office.worker().run()
    first = office.receipt()
    found = asked(office, "u1", lambda _: office.worker().run() and None)
    assert first is not None
    assert (first["position"]["offset"], found["position"]["offset"]) == (1, 2)
    assert "u1 is erased, by profiles[0]@2" in sentences(found)[0]


def test_erase_says_when_nobody_of_this_id_was_known(office: Office) -> None:
    """A mistyped id gets a receipt as well: its words say that there was nothing to remove, and those of others what and when."""
    office.append(TOMBSTONE, topic="profiles")
    office.worker().run()
    known, stranger = (
        asked(office, user, lambda _: office.worker().run() and None) for user in ("u1", "u11")
    )
    assert re.match(
        r"removed [0-9]{4}-.* UTC: 0 events of his history, 0 items he took, profile$", sentences(known)[1]
    )
    assert sentences(stranger)[1].startswith("nothing was removed: nobody of this id was known")


def test_erase_says_when_nobody_does_it(office: Office) -> None:
    """No worker, no receipt: an error that says where the tombstone is; an id that no user can have is refused before."""
    source = MemorySource(office.log, ["profiles"], "g", clock=office.clock)
    with pytest.raises(Unavailable, match=r"no receipt within 0 s.*profiles.*streamer:receipt:u1"):
        erase_by(Settings(), source, MemorySink(office.log), office.receipts, "u1", 0.0)
    assert office.log.records("profiles")[-1][4:6] == TOMBSTONE
    with pytest.raises(ConfigError, match="reserved"):
        asked(office, "__streamer_anonymous__", lambda _: None)
    assert len(office.log.records("profiles")) == 2
