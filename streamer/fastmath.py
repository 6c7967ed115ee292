"""Elementary functions for kernels that take thousands of them a list."""

import numpy as np

from streamer.compiled import kernel

_LOG2 = np.array([-2.78792621, 5.04785541, -3.48987855, 1.58947429, -0.40251339, 0.04300496], np.float32)
_LN2 = np.float32(0.6931471805599453)


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
