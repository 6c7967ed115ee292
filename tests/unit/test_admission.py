"""Records -> events: how old each is, and what is refused."""

import gc
import re

import pytest
from runner_records import GOOD, record

from streamer.config import Settings
from streamer.errors import InvalidEvent
from streamer.events import UserErased
from streamer.letters import LOG_MS
from streamer.ports import Record
from streamer.runner.admission import admit, admit_all


def test_a_tombstone_that_is_replayed_is_as_old_as_its_record() -> None:
    """It erases what there is by now; what a user did is as old as it first was."""
    headers = ((LOG_MS, b"5"),)
    tombstone = Record("profiles", 0, 0, 90, b"u", None, headers)
    assert admit(tombstone, "profiles", 1000) == (UserErased("u"), 90)
    assert admit(Record("interactions", 0, 0, 90, b"u", GOOD, headers), "interactions", 1000)[1] == 5


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
