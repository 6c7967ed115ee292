"""The user vector that ranking computes from tables, against the network it stands for."""

import numpy as np
import pytest
from entries import gap_bucket
from test_propagate import SMALL, TEXT_DIM, some_examples, some_inputs

from streamer.graph.vectors import GAP_EDGES_S, N_GAPS, Tables, user_vectors
from streamer.propagate import Architecture, Examples, export, new_network
from streamer.propagate.training import train_round
from streamer.propagate.training import user_vectors as forward


def from_tables(tables: Tables, histories: Examples) -> np.ndarray:
    """Scratch and output begin as nan: whatever the kernel does not write shows."""
    n_heads, dim = tables.mix.shape[:2]
    out = np.full((histories.target.size, dim), np.nan, np.float32)
    pooled = np.full((n_heads, dim), np.nan, np.float32)
    user_vectors(tables, histories.items, histories.gap_s, histories.z_score, pooled, out)
    return out


@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        Architecture(),
        SMALL._replace(n_heads=1, use_self_loop=False),
        SMALL._replace(use_gaps=False),
        SMALL._replace(use_ratings=False, use_ids=False),
    ],
)
def test_the_kernel_equals_the_forward_pass_of_training(architecture: Architecture) -> None:
    """What is ranked with is what was trained: empty, short and full histories, missing ratings, every time gap."""
    inputs = some_inputs(30)
    network = new_network(architecture._replace(rate=0.03), TEXT_DIM)
    for n in range(3):
        network = train_round(network, some_examples(60, 30, architecture.n_history, seed=n), inputs)
    histories = some_examples(300, 30, architecture.n_history, seed=8)
    expected = forward(network, histories, inputs)
    np.testing.assert_allclose(from_tables(export(network, inputs), histories), expected, atol=1e-4)
    assert expected.std(0).min() > 0.01


def by_hand() -> Tables:
    """Two items, two dimensions, one head, two positions; the second gap bucket counts double."""
    gap_bias = np.zeros((N_GAPS, 1), np.float32)
    gap_bias[1] = np.log(2)
    gap_value = np.zeros((N_GAPS, 2), np.float32)
    gap_value[1] = [0, 9]
    return Tables(
        x=np.array([[1, 0], [0, 1]], np.float32),
        h=np.zeros((2, 2), np.float32),
        bias=np.zeros(2, np.float32),
        gap_bias=gap_bias,
        pos_bias=np.zeros((2, 1), np.float32),
        gap_value=gap_value,
        pos_value=np.array([[0, 0], [3, 0]], np.float32),
        rating_value=np.array([0, 6], np.float32),
        mix=np.array([[[1, 0], [0, 10]]], np.float32),
        self_loop=np.array([[100, 0], [0, 200]], np.float32),
        h_0=np.array([1000, 2000], np.float32),
        version=0,
    )


def test_a_user_vector_worked_out_by_hand() -> None:
    """Items 1 (now) and 0 (40 s ago, rated one deviation above the mean)."""
    histories = Examples(
        target=np.zeros(3, np.int32),
        items=np.array([[1, 0], [-1, -1], [1, 2]], np.int32),
        gap_s=np.array([[0, 40], [0, 0], [0, 40]], np.float32),
        z_score=np.array([[np.nan, 1], [np.nan, np.nan], [np.nan, np.nan]], np.float32),
    )
    # weights 1/3 and 2/3; messages (0, 1) and (1, 0) + (0, 9) + (3, 0) + (0, 6) = (4, 15)
    # pooled (8/3, 31/3), mixed (8/3, 310/3); self-loop of item 1: (0, 200)
    both = [1000 + 8 / 3, 2000 + 310 / 3 + 200]
    nobody = [1000, 2000]
    # an item that these tables do not have yet sends nothing: (0, 1) alone, mixed (0, 10)
    newer = [1000, 2000 + 10 + 200]
    np.testing.assert_allclose(from_tables(by_hand(), histories), [both, nobody, newer], rtol=1e-6)


def test_an_item_that_lost_its_vector_sends_nothing() -> None:
    """An evicted item's row stands in the tables until the next round: its bias says that nobody is there."""
    tables = by_hand()._replace(bias=np.array([-np.inf, 0], np.float32))
    histories = Examples(
        target=np.zeros(2, np.int32),
        items=np.array([[1, 0], [0, -1]], np.int32),
        gap_s=np.array([[0, 40], [0, 0]], np.float32),
        z_score=np.full((2, 2), np.nan, np.float32),
    )
    expected = [[1000, 2000 + 10 + 200], [1000, 2000]]
    np.testing.assert_allclose(from_tables(tables, histories), expected, rtol=1e-6)


def test_gap_buckets_are_powers_of_two_of_half_a_minute() -> None:
    """Bucket b begins at 30 s x (2^b - 1); what is shorter than nothing counts as nothing; the last one has no end."""
    for gap_s, bucket in (
        (-5.0, 0),
        (0.0, 0),
        (29.9, 0),
        (30.0, 1),
        (89.0, 1),
        (90.0, 2),
        (210.0, 3),
        (1e12, 23),
    ):
        assert gap_bucket(gap_s) == bucket
    assert GAP_EDGES_S[[0, 1, 2, 3]].tolist() == [0.0, 30.0, 90.0, 210.0]
