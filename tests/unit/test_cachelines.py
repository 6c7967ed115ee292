"""Tables on cache lines, and lines asked for in advance: faster, and without any effect on a number."""

import numba
import numpy as np
import pytest

from streamer.cachelines import LINE, bring, zeros
from streamer.graph.state import ITEM, NODE

_PAIR = np.dtype([("number", "i8"), ("weight", "f4", 30)], align=True)


@pytest.mark.parametrize("shape", [1, 7, (3, 5), (1000, 128)])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, ITEM])
def test_a_table_begins_on_a_cache_line(shape, dtype):
    """It is numpy's array of zeros in every other way: shape, type, owner of its rows alone, and may be written."""
    table, other = zeros(shape, dtype), zeros(shape, dtype)
    assert table.ctypes.data % LINE == 0
    assert table.shape == np.zeros(shape, dtype).shape
    assert table.dtype == dtype
    assert table.flags.c_contiguous
    assert table.tobytes() == b"\0" * table.nbytes
    table.view(np.uint8)[...] = 1
    assert other.tobytes() == b"\0" * other.nbytes


def test_a_table_may_have_no_rows():
    """As before the first vector comes."""
    assert zeros((0, 64), np.float32).shape == (0, 64)


@pytest.mark.parametrize("record", [ITEM, NODE])
def test_records_fill_whole_cache_lines(record):
    """So no row of a table shares a line with the next, and every byte has a name: copies carry what the state hash reads."""
    named = sum(record.fields[name][0].itemsize for name in record.names)
    assert record.itemsize % LINE == 0
    assert named == record.itemsize


def test_what_lifts_cold_items_lies_in_the_first_line_of_a_node():
    """`content.compare` asks for that line alone."""
    for name in ("n_cold", "cold_event", "cold_taken", "cold_expected"):
        field, offset = NODE.fields[name][:2]
        assert offset + field.itemsize <= LINE


@numba.njit
def _sum_of(table, rows, asked):
    total = 0.0
    for at in range(rows.size):
        if asked:
            bring(table, rows[at], 256)
        total += table[rows[at]]["weight"].sum()
    return total


def test_asking_for_a_row_changes_nothing_and_reaches_the_processor():
    """The sum is that of the rows, and the machine code holds a prefetch for each line."""
    table = zeros(50, _PAIR)
    table["weight"] = np.arange(50)[:, None]
    before = table.tobytes()
    rows = np.array([3, 49, 0, 3])
    assert _sum_of(table, rows, True) == _sum_of(table, rows, False) == 30 * 55
    assert table.tobytes() == before
    ir = next(iter(_sum_of.inspect_llvm().values()))
    assert "call void @llvm.prefetch" in ir


def test_a_row_that_is_not_there_may_be_asked_for():
    """A hint that leads nowhere is no error: callers look ahead without looking where the table ends."""
    table = zeros((4, 16), np.float32)

    @numba.njit
    def ask(table, row):
        bring(table, row, 4096)

    for row in (-1, 4, 1 << 40, -(1 << 40)):
        ask(table, row)
    assert not table.any()
