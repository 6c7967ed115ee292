"""Elementary functions against numpy in float64, over all that float32 can hold."""

import numpy as np
import pytest
from content_twin import scrambled
from entries import exponentials, logarithms, scramble

from streamer.fastmath import GOLDEN, mixed

CLOSE = 2e-5  # what the functions promise


def test_logarithms_are_close_at_every_size() -> None:
    """From the smallest float32 to the largest, and densely round 1, the error is below 2e-5."""
    x = np.exp(np.append(np.linspace(-87.0, 88.0, 20_001), np.linspace(-1.0, 1.0, 20_001))).astype(np.float32)
    got = np.zeros_like(x)
    logarithms(x, got)
    np.testing.assert_allclose(got, np.log(x.astype(np.float64)), rtol=0.0, atol=CLOSE)


def test_exponentials_are_close_at_every_size() -> None:
    """Between -80 and 80 the relative error is below 2e-5."""
    x = np.linspace(-80.0, 80.0, 40_001).astype(np.float32)
    got = np.zeros_like(x)
    exponentials(x, got)
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=CLOSE)


def test_exponentials_of_what_is_too_small_or_too_large_are_numbers() -> None:
    """Below -80 there is nothing left; above 80 it is as at 80, so that a sum of them stays finite."""
    x = np.array([80.0, 81.0, 200.0, 1e30, np.inf, -80.5, -200.0, -1e30, -np.inf], np.float32)
    got = np.zeros_like(x)
    exponentials(x, got)
    assert got[:5].tolist() == [got[0]] * 5
    assert got[0] == pytest.approx(np.exp(80.0), rel=CLOSE)
    assert got[5:].tolist() == [0.0] * 4


def test_scrambled_numbers_are_those_of_splitmix64() -> None:
    """Replays, on any machine, draw the same: the generator written down once more, in whole numbers without an end."""
    for seed in (0, 1, 2**32, 2**63, 2**64 - 1):
        assert scramble(np.uint64(seed)) == scrambled(seed)


def test_python_mixes_arrays_as_kernels_mix_numbers() -> None:
    """What is drawn for many at once is what each would get."""
    seeds = np.array([0, 1, 2**32, 2**63, 2**64 - 1], np.uint64)
    assert mixed(seeds + GOLDEN).tolist() == [scrambled(seed) for seed in seeds.tolist()]
