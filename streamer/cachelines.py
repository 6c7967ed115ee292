"""Memory by the cache line: tables that begin on one, and lines that are asked for before they are needed.

What a list reads lies scattered over tables far larger than any cache, and where it lies is known some microseconds before it
is read. A processor that is told so fetches many lines at once; one that is not waits a tenth of a microsecond for most of them.
Nothing here changes a number.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamer.compiled import kernel

LINE = 64  # bytes
_READ, _KEEP, _DATA = 0, 3, 1  # arguments of LLVM's prefetch: not for writing; into all caches; no code


def zeros(shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """As `numpy.zeros`, from the beginning of a cache line on: rows of a multiple of 64 bytes share no line with others.

    numpy's own begin 16 bytes into a page, so that every such row would lie in one line more than it fills.
    """
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.zeros(n_bytes + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    table: NDArray[Any] = memory[begin : begin + n_bytes].view(dtype).reshape(shape)
    return table


@intrinsic
def _ask_for(_context, table, _row, _offset):
    """Ask for the line that holds this byte of a row: a hint, which no address is too wrong for."""

    def generate(context, builder, signature, args):
        of_table, of_row, of_offset = args
        array = context.make_array(signature.args[0])(context, builder, of_table)
        stride = cgutils.unpack_tuple(builder, array.strides, signature.args[0].ndim)[0]
        begin = builder.ptrtoint(array.data, ir.IntType(64))
        address = builder.add(builder.add(begin, builder.mul(of_row, stride)), of_offset)
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag]),
            "llvm.prefetch.p0",
        )
        builder.call(prefetch, [builder.inttoptr(address, pointer), flag(_READ), flag(_KEEP), flag(_DATA)])
        return context.get_dummy_value()

    return types.void(table, types.int64, types.int64), generate


@kernel
def bring(table, row, n_bytes):
    """Ask for the first bytes of a row of a table, to be read some hundred nanoseconds later.

    Args:
        table: An array of any number of dimensions; `row` counts along the first.
        n_bytes: How much of the row.
    """
    for offset in range(0, n_bytes, LINE):
        _ask_for(table, row, offset)
