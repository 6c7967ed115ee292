"""Running quantiles and bins, against sorting, on streams that stand still, grow, fall and repeat."""

import math
import random

import numpy as np
import pytest
from encode_records import record

from streamer.encode import Encoders
from streamer.encode.bins import MAX_BINS, N_BINS, RunningBins
from streamer.encode.quantiles import N_LEVELS, SIZE, RunningQuantiles

N_STREAM = 6000
STREAMS = {
    "uniform": lambda rng: [rng.random() for _ in range(N_STREAM)],
    "lognormal": lambda rng: [rng.lognormvariate(0.0, 2.0) for _ in range(N_STREAM)],
    "common values": lambda rng: [rng.choice([0.0, 0.0, 0.0, 1.25, 1.25, 2.5, 9.0]) for _ in range(N_STREAM)],
    "two scales": lambda rng: [rng.choice([rng.gauss(0, 1), rng.gauss(1e6, 1)]) for _ in range(N_STREAM)],
    "growing": lambda rng: [1.39e9 + 60.0 * n + rng.random() for n in range(N_STREAM)],
    "falling": lambda rng: [-60.0 * n - rng.random() for n in range(N_STREAM)],
}


@pytest.mark.parametrize("name", STREAMS)
def test_running_quantiles_are_near_the_exact_ones(name):
    """Each edge lies within 3% of its rank, whatever the stream; at most 2 SIZE + 1 points are kept."""
    numbers = STREAMS[name](random.Random(3))
    quantiles = RunningQuantiles()
    for number in numbers:
        quantiles.update(number)
    exact = np.sort(numbers)
    slack = 0.03 * N_STREAM
    for n, edge in enumerate(quantiles.edges, start=1):
        low, high = np.searchsorted(exact, edge, "left"), np.searchsorted(exact, edge, "right")
        assert low - slack <= n * N_STREAM / N_LEVELS <= high + slack
    assert len(quantiles.edges) == N_LEVELS - 1
    assert len(quantiles.points) <= 2 * SIZE + 1 + 64


@pytest.mark.parametrize("name", STREAMS)
def test_no_bin_holds_nearly_everything(name):
    """Also of a sorted stream, whose quantiles keep moving, at most 30% land in one bin; one value never splits."""
    numbers = STREAMS[name](random.Random(4))
    bins = RunningBins()
    landed = []
    for number in numbers:
        bins.update(number)
        landed.append(bins.bin_of(number))
    largest = max(map(landed.count, set(landed)))
    commonest = max(map(numbers.count, set(numbers)))
    assert largest <= max(0.3 * N_STREAM, commonest)
    assert len(bins.ids) <= MAX_BINS
    if name != "common values":
        assert len(bins.ids) >= N_BINS / 2


def test_a_bin_id_always_means_the_same_stretch():
    """Whatever quantiles do later, an id is never given to another range of numbers."""
    rng = random.Random(6)
    bins = RunningBins()
    meaning = {}
    for n in range(8000):
        bins.update(rng.gauss(n / 300, 1.0))
        bounds = [-math.inf, *bins.cuts, math.inf]
        for bin_id, low, high in zip(bins.ids, bounds, bounds[1:], strict=False):
            assert meaning.setdefault(bin_id, (low, high)) == (low, high)
    assert len(meaning) > MAX_BINS


def test_a_level_is_the_share_below_and_half_of_the_equal():
    """Of 1, 2, 2, 3: nothing lies below 1 but half of itself, and one and half of two below 2."""
    quantiles = RunningQuantiles()
    assert quantiles.level_of(7.0) == 0.5
    for number in (1.0, 2.0, 2.0, 3.0):
        quantiles.update(number)
    assert [quantiles.level_of(x) for x in (0.0, 1.0, 2.0, 2.5, 3.0, 4.0)] == [
        *(0.0, 0.5 / 4, (1 + 1) / 4, 3 / 4, 3.5 / 4, 1.0)
    ]


def test_bins_before_and_after_there_is_enough():
    """Sixteen numbers make the first cut, at their median: 9 of 1..16."""
    encoders = Encoders()
    nodes = [encoders.item(record(numerical={"x": float(x)})).bins for x in range(1, 17)]
    assert nodes[:15] == [("x#0",)] * 15
    assert encoders.readable()["catalog"]["numerical"]["x"]["bin_cuts"] == [9.0]
    assert encoders.item(record(numerical={"x": 8.9})).bins == ("x#1",)
    assert encoders.item(record(numerical={"x": 9.0})).bins == ("x#2",)


def test_a_number_that_most_records_have_is_missed():
    """Half of the records is enough, less is not; what is there comes before what is missing."""
    encoders = Encoders()
    encoders.item(record(numerical={"price": 1.0}))
    assert encoders.item(record(numerical={"size": 1.0})).bins == ("size#0", "price#missing")
    assert encoders.item(record()).bins == ()  # each seen once in three


def test_at_most_four_bins():
    """The first fields ever seen have precedence."""
    features = Encoders().item(record(numerical=dict.fromkeys("edcba", 1.0)))
    assert features.bins == ("e#0", "d#0", "c#0", "b#0")
