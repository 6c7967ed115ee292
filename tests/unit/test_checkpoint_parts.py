"""The parts of checkpoints that need no state: blocks, pointers, configurations, spans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import paths
from streamer.checkpoint import Kept, check_config, config_of, pointer
from streamer.checkpoint.blocks import packed, unpack
from streamer.checkpoint.file import Reader
from streamer.errors import CheckpointRefused
from streamer.graph import FoldSettings
from streamer.ports import Record, Span
from streamer.runner.refold import spans_of

ONE = Kept("000000000000007-000000000003", 3, 2, 7, 9, "0.1.0")


@given(
    n_bytes=st.integers(0, 1000) | st.sampled_from([64 * 65_536 - 1, 64 * 65_536, 64 * 65_536 + 65]),
    at=st.lists(st.integers(0, 2**30), max_size=5),
)
def test_blocks_come_back(n_bytes, at):
    """Any length, any places that are not empty; and what is empty takes a bit in 64 bytes."""
    array = np.zeros(n_bytes, np.uint8)
    array[[place % n_bytes for place in at if n_bytes]] = 7
    pieces = list(packed(array))
    again = np.zeros(n_bytes, np.uint8)
    n_packed = sum(map(len, pieces))
    assert (
        unpack(Reader(map(bytes, pieces)).take, again) == n_packed <= n_bytes // 512 + 1 + 64 * (len(at) + 1)
    )
    assert again.tobytes() == array.tobytes()


def test_a_pointer_is_read_as_it_was_written():
    """The newest first; none is none."""
    kept = [ONE, Kept("b", 2, 2, 6, 9, "0.1.0")]
    assert pointer.decode(pointer.encode(kept)) == kept
    assert pointer.decode(None) == []
    assert pointer.new_name(3, 7) == ONE.name


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b'{"version":2,"checkpoints":[]}',
        b'{"version":1}',
        pointer.encode([Kept("../../etc/passwd", 1, 1, 1, 1, "x")]),
        pointer.encode([Kept("a\nb", 1, 1, 1, 1, "x")]),
        pointer.encode([Kept("a" * 101, 1, 1, 1, 1, "x")]),
    ],
)
def test_what_is_no_pointer_is_refused(bad):
    """A name becomes a part of keys and paths: nothing but letters, digits and dashes."""
    with pytest.raises(CheckpointRefused, match="pointer"):
        pointer.decode(bad)


def test_another_configuration_is_told():
    """The sentence names what differs, and no more than five of it."""
    ours = config_of(FoldSettings(), 1.0)
    check_config(ours, config_of(FoldSettings(), 1.0))
    with pytest.raises(
        CheckpointRefused, match=r"measure_share was 1\.0 and is 0\.5; repeats was False and is True"
    ):
        check_config(ours, config_of(FoldSettings(repeats=True), 0.5))
    with pytest.raises(CheckpointRefused, match="a was not there and is 1"):
        check_config({}, {"a": "1"})
    with pytest.raises(CheckpointRefused) as caught:
        check_config({}, ours)
    assert str(caught.value).count(" was ") == 5


def test_spans_are_runs_of_a_partition():
    """In the order of the batch; holes of a compacted topic lie inside."""

    def record(topic, partition, offset):
        return Record(topic, partition, offset, 0, None, None)

    batch = [
        record("a", 0, 3),
        record("a", 0, 4),
        record("a", 1, 0),
        record("a", 0, 5),
        record("b", 0, 9),
        record("b", 0, 12),
    ]
    assert spans_of(batch) == (
        Span("a", 0, 3, 5),
        Span("a", 1, 0, 1),
        Span("a", 0, 5, 6),
        Span("b", 0, 9, 13),
    )
    assert spans_of([]) == ()


def test_other_paths_are_another_configuration(monkeypatch):
    """Their weights stand in the state by number: with one path more, all numbers behind it mean another path."""
    ours = config_of(FoldSettings(), 1.0)
    monkeypatch.setattr(paths, "NAMES", (*paths.NAMES, "one_more"))
    with pytest.raises(CheckpointRefused, match="paths was"):
        check_config(ours, config_of(FoldSettings(), 1.0))
