"""Elementary functions for kernels that take thousands of them a list."""

from typing import Any

import numpy as np

from streamer.compiled import kernel, reordering_kernel

_LOG2 = np.array([-2.78792621, 5.04785541, -3.48987855, 1.58947429, -0.40251339, 0.04300496], np.float32)
# 2**x = 1 + x (a + b x + c x**2 + d x**3) on [0, 1]
_EXP2 = np.array([0.69312244, 0.24071373, 0.05336853, 0.0127689], np.float32)
_PER_LN2 = np.float32(1.4426950408889634)
_LN2 = np.float32(0.6931471805599453)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: what splitmix64 steps by


@kernel
def log(x):
    """Natural logarithm of a positive float32 to 2e-5: exponent, and a polynomial of the mantissa, without a call.

    The polynomial interpolates log2 at Chebyshev nodes on [1, 2].
    """
    bits = np.float32(x).view(np.int32)
    exponent = np.float32((bits >> 23) - 127)
    m = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32)
    p = _LOG2[4] + m * _LOG2[5]
    p = _LOG2[3] + m * p
    p = _LOG2[2] + m * p
    p = _LOG2[1] + m * p
    return (exponent + _LOG2[0] + m * p) * _LN2


@kernel
def exp(x):
    """Exponential of a float32 to a relative 2e-5, 0 below -80: a power of two, and a polynomial of what is left."""
    if x < np.float32(-80.0):
        return np.float32(0.0)
    scaled = min(x, np.float32(80.0)) * _PER_LN2
    whole = np.int32(np.floor(scaled))
    part = scaled - np.float32(whole)
    p = _EXP2[2] + part * _EXP2[3]
    p = _EXP2[1] + part * p
    p = _EXP2[0] + part * p
    return np.int32((whole + 127) << 23).view(np.float32) * (np.float32(1.0) + part * p)


@reordering_kernel
def dot(a, b):
    """Dot product of two float32 arrays, in the order that suits the machine's vector registers (9 times as fast as in turn).

    So what is made of it is the same in every run on one kind of machine, not on all of them: for vectors of the attention
    network, of which that is true anyway.
    """
    total = np.float32(0.0)
    for d in range(a.size):
        total += a[d] * b[d]
    return total


def mixed(z: Any) -> Any:
    """Well-mixed bits of a number, or of each of an array, uint64: the end of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).

    For Python; kernels call `scramble`.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_mixed = kernel(mixed)


@kernel
def scramble(seed):
    """64 well-mixed bits of a number, the next one that splitmix64 draws from it: chance that every replay repeats."""
    return _mixed(seed + GOLDEN)
