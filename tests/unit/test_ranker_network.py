"""The ranker's network against plain float64: scores, the gradient by finite differences, Adam's steps, a planted preference."""

import numpy as np
import pytest
from entries import learn_list, score_list

from streamer.ranker import network, new_ranker
from streamer.ranker.state import N_HIDDEN, N_RANKED, SHORT, Weights

N_FEATURES = 10  # not a multiple of eight: the rest of the arrays must stay zero


def filled(seed, n=20, moved=True):
    """A ranker with a list of `n` described candidates in its scratch; `moved`: with weights that have left zero."""
    rng = np.random.default_rng(seed)
    ranker = new_ranker(N_FEATURES)
    if moved:
        for weights in ranker.weights:
            weights[..., :] = rng.normal(0.0, 0.5, weights.shape)
    describe(ranker, rng, n)
    return ranker


def describe(ranker, rng, n):
    """Another list into the scratch."""
    ranker.n[SHORT] = n
    ranker.x[:N_FEATURES, :n] = rng.normal(0.0, 1.0, (N_FEATURES, n))
    ranker.x[3, :n] = 0.0
    ranker.base[:n] = np.log(rng.dirichlet(np.ones(n)))


def copied(weights):
    """The same numbers in float64."""
    return Weights(*(array.astype(np.float64) for array in weights))


def scores_of(ranker, weights):
    """log p + linear.x + out.relu(hidden'x + bias), in float64."""
    n = int(ranker.n[SHORT])
    x = ranker.x[:, :n].T.astype(np.float64)
    activation = np.maximum(x @ weights.hidden + weights.bias, 0.0)
    return ranker.base[:n].astype(np.float64) + x @ weights.linear + activation @ weights.out


def loss_of(ranker, weights, taken):
    """-log of the softmax at the taken candidate."""
    scores = scores_of(ranker, weights)
    most = scores.max()
    return most + np.log(np.exp(scores - most).sum()) - scores[taken]


@pytest.mark.parametrize("n", [1, 2, 50, N_RANKED])
def test_scores_and_probabilities(n):
    """Scores are the formula, probabilities their softmax, for lists of any length."""
    ranker = filled(n, n)
    score_list(ranker)
    expected = scores_of(ranker, copied(ranker.weights))
    np.testing.assert_allclose(ranker.score[:n], expected, rtol=1e-4, atol=1e-4)
    chances = np.exp(expected - expected.max())
    np.testing.assert_allclose(ranker.probability[:n], chances / chances.sum(), rtol=1e-3, atol=1e-6)
    assert ranker.probability[:n].sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_listwise_loss(seed):
    """Every derivative equals a central difference of the loss, except for what is left out of candidates that hardly matter."""
    ranker = filled(seed)
    weights, taken = copied(ranker.weights), seed
    learn_list(ranker, taken)
    for name, values in weights._asdict().items():
        got = getattr(ranker.gradient, name)
        expected = np.zeros_like(values)
        for at in np.ndindex(values.shape):
            kept = values[at]
            sides = []
            for step in (1e-6, -1e-6):
                values[at] = kept + step
                sides.append(loss_of(ranker, weights, taken))
            values[at] = kept
            expected[at] = (sides[0] - sides[1]) / 2e-6
        faint = float(network._FAINT) * 20 * 4.0  # so many candidates, of features this large
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=faint, err_msg=name)
        assert abs(expected).max() > 0.05 or name == "bias"


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_gradient_holds_nothing_of_the_list_before(n):
    """A short list after a long one: the same gradient, to the last bit, as where it is the first one learned."""
    used, new = filled(9, 23), new_ranker(N_FEATURES)
    learn_list(used, 4)
    for own, other in zip(new.weights, used.weights, strict=True):
        own[...] = other
    for ranker in (used, new):
        describe(ranker, np.random.default_rng(10), n)
        learn_list(ranker, 0)
    for name, expected in new.gradient._asdict().items():
        np.testing.assert_array_equal(getattr(used.gradient, name), expected, err_msg=name)


def test_two_steps_of_adam_by_hand():
    """Weights and moments after each of two events are Kingma and Ba's algorithm 1 on the gradients at hand."""
    ranker, rng = filled(5), np.random.default_rng(5)
    first, second = (Weights(*(np.zeros_like(w, np.float64) for w in ranker.weights)) for _ in range(2))
    weights = copied(ranker.weights)
    for n in (1, 2):
        learn_list(ranker, n)
        for w, m, v, g, got in zip(weights, first, second, ranker.gradient, ranker.weights, strict=True):
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.999 * v + 0.001 * g.astype(np.float64) ** 2
            w[...] -= float(network.RATE) * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
            np.testing.assert_allclose(got, w, atol=1e-5)
        describe(ranker, rng, 30)
    for m, got in zip(first, ranker.first_moment, strict=True):
        np.testing.assert_allclose(got, m, atol=1e-5)
    assert ranker.n_updates.tolist() == [2]
    assert abs(weights.linear - filled(5).weights.linear)[:3].min() > 1e-3


def test_a_new_ranker_says_what_the_mixture_says():
    """Before the first update, probabilities are the mixture's own, whatever the features."""
    ranker = filled(6, 40, moved=False)
    assert abs(ranker.weights.hidden[:N_FEATURES]).min() > 0.0
    score_list(ranker)
    np.testing.assert_array_equal(ranker.score[:40], ranker.base[:40])
    np.testing.assert_allclose(ranker.probability[:40], np.exp(ranker.base[:40]), rtol=1e-5)


def test_features_that_do_not_exist_are_never_learned():
    """Arrays are rounded up to eight features: weights beyond the last one stay as they began."""
    ranker, rng = filled(7, moved=False), np.random.default_rng(7)
    began = copied(ranker.weights)
    for _ in range(50):
        describe(ranker, rng, 30)
        learn_list(ranker, 4)
    assert ranker.weights.linear.size == 16
    np.testing.assert_array_equal(ranker.weights.linear[N_FEATURES:], 0.0)
    np.testing.assert_array_equal(ranker.weights.hidden[N_FEATURES:], began.hidden[N_FEATURES:])
    assert abs(ranker.weights.linear[0] - began.linear[0]) > 0.0


@pytest.mark.parametrize("rule", ["linear", "product"])
def test_a_planted_preference_is_learned(rule):
    """Where the largest feature decides, or the product of two, the ranker finds out, though the mixture is no help."""
    rng = np.random.default_rng(8)
    ranker, losses = new_ranker(N_FEATURES), []
    for _ in range(3_000 if rule == "linear" else 12_000):
        describe(ranker, rng, 20)
        ranker.base[:20] = np.log(1 / 20)
        x = ranker.x[:, :20]
        taken = int(np.argmax(x[1] if rule == "linear" else x[1] * x[2]))
        learn_list(ranker, taken)
        losses.append(-np.log(max(float(ranker.probability[taken]), 1e-9)))
    assert losses[0] == pytest.approx(np.log(20), abs=0.01)
    assert np.mean(losses[-300:]) < np.log(20) / 2


def test_the_first_layer_starts_at_random_and_seeded():
    """Two rankers are equal to the last bit; another seed is another one. Nothing listens to the first layer yet."""
    one, same, other = new_ranker(N_FEATURES), new_ranker(N_FEATURES), new_ranker(N_FEATURES, seed=2)
    assert one.weights.hidden.tobytes() == same.weights.hidden.tobytes() != other.weights.hidden.tobytes()
    assert one.weights.hidden.shape == (16, N_HIDDEN)
    assert not one.weights.out.any()
    assert not one.weights.linear.any()
