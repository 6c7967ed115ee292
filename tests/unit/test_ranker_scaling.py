"""The ranker's scaling: features of any size come out alike, from what earlier lists showed alone."""

import numpy as np
import pytest
from entries import scale_list

from streamer.ranker import new_ranker
from streamer.ranker.scaling import GUESSED, SCALED
from streamer.ranker.state import N_RANKED, SHORT

N_FEATURES = 8


def fill(ranker, rng, mean, spread, n=N_RANKED):
    """A list of so many candidates with features of this mean and spread in the scratch."""
    ranker.n[SHORT] = n
    ranker.x[:, :n] = rng.normal(mean, spread, (n, N_FEATURES)).T


def test_the_first_list_is_scaled_by_the_first_guess_alone():
    """Nothing was seen: mean 0, and the factor that a ranker starts with is 1; what the list holds cannot show in it."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(0)
    fill(ranker, rng, 3.0, 2.0)
    raw = ranker.x.copy()
    scale_list(ranker)
    np.testing.assert_array_equal(ranker.x, raw)


def test_features_of_any_size_come_out_alike():
    """After many lists, each feature has mean 0 and the spread that is aimed for; a constant one is 0."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(1)
    mean, spread = np.tile([5.0, -0.2, 0.1, 3.0], 2), np.tile([4.0, 0.2, 1.0, 0.0], 2)
    for _ in range(2000):
        fill(ranker, rng, mean, spread)
        scale_list(ranker)
    fill(ranker, rng, mean, spread)
    scale_list(ranker)
    x = ranker.x[:, :N_RANKED]
    np.testing.assert_allclose(x.mean(axis=1), 0.0, atol=0.25 * SCALED)
    np.testing.assert_allclose(x.std(axis=1)[:3], SCALED, rtol=0.15)
    assert x.std(axis=1)[3] < 1e-6


@pytest.mark.parametrize("n", [1, 5, 31, 100, N_RANKED])
def test_sums_are_of_raw_features(n):
    """What is counted is what the features were before scaling: one candidate in four of each list, however long it is."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(2)
    raw = []
    for _ in range(3):
        fill(ranker, rng, 1.0, 2.0, n)
        raw.append(ranker.x[:, :n:4].T.astype(np.float64))
        scale_list(ranker)
    kept = 1.0 - 1.0 / 10_000.0
    total = sum(x.sum(axis=0) * kept ** (2 - at) for at, x in enumerate(raw))
    np.testing.assert_allclose(ranker.scaling.total, total, rtol=1e-4)
    n_seen = sum(-(-n // 4) * kept**at for at in range(3))
    assert abs(ranker.scaling.n[0] - n_seen) < 1e-9
    mean = total / (n_seen + 1000.0)
    square = sum((x * x).sum(axis=0) * kept ** (2 - at) for at, x in enumerate(raw))
    variance = (square + 1000.0 * GUESSED**2) / (n_seen + 1000.0) - mean**2
    np.testing.assert_allclose(ranker.scaling.centre, mean, rtol=1e-4)
    np.testing.assert_allclose(ranker.scaling.factor, SCALED / np.sqrt(variance), rtol=1e-4)


def test_what_was_seen_before_fades_with_every_list():
    """How many candidates, their sum and the sum of their squares: a ten-thousandth of each is lost."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(4)
    scaling, kept = ranker.scaling, 1.0 - 1.0 / 10_000.0
    scaling.n[:], scaling.total[:], scaling.square[:] = 1e6, 2e6, 3e7
    fill(ranker, rng, 1.0, 2.0)
    raw = ranker.x[:, :N_RANKED:4].astype(np.float64)
    scale_list(ranker)
    assert abs(scaling.n[0] - (1e6 * kept + 32)) < 1e-6
    np.testing.assert_allclose(scaling.total, 2e6 * kept + raw.sum(axis=1), rtol=1e-7)
    np.testing.assert_allclose(scaling.square, 3e7 * kept + (raw * raw).sum(axis=1), rtol=1e-7)
