"""How kernels are called: by kernels, and by Python only where a way in was made."""

import pytest

from streamer.compiled import entry_kernel, kernel, reordering_kernel


def doubled(x: int) -> int:
    """What the kernels of this file do."""
    return 2 * x


@pytest.mark.parametrize("make", [kernel, reordering_kernel])
def test_a_kernel_that_python_cannot_call_says_so(make):
    """Without its way in a call would end the process: it is an error that names the kernel and what to do."""
    inner = make(doubled)
    outer = entry_kernel(lambda x: inner(x) + 1)
    assert outer(20) == 41
    with pytest.raises(TypeError, match=r"doubled: only kernels call it.*call doubled\.py_func"):
        inner(20)
    assert inner.py_func(20) == 40
