"""Score and learn: `log p_mix + linear.x + out.relu(hidden'x + bias)`, trained on the listwise softmax, one event at a time.

    score  z_c, and q = softmax(z) over the candidates
    loss   -log q_taken                       (Cao et al. 2007, ListNet with one relevant item)
    step   Adam (Kingma and Ba 2015), one an event; an event whose item is not among the candidates teaches nothing

A feature of all candidates is a row, so that every inner loop runs over candidates, or over hidden units, and vectorises without
reordering sums: the same numbers on every machine. Eight features, or four candidates, go into one pass of that loop. What weighs
next to nothing in the gradient is left out.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import exp
from streamer.ranker.state import N_ABREAST, N_HIDDEN

RATE = np.float32(1e-3)
_MOMENTUM, _SPREAD, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
_FAINT = np.float32(1e-4)  # gradient of a score below which a candidate is not worth a pass


@kernel
def score(ranker, x, base, n):
    """Scores and probabilities of n candidates.

    Args:
        x: (n_features, n or more) float32, scaled features.
        base: (n or more,) float32, log-probabilities by the mixture.
    """
    weights, total = ranker.weights, ranker.score
    for c in range(n):
        total[c] = base[c]
    _add_weighted(x, weights.linear, total, n)
    for h in range(N_HIDDEN):
        activation, bias, out = ranker.activation[h], weights.bias[h], weights.out[h]
        for c in range(n):
            activation[c] = bias
        _add_weighted(x, weights.hidden[:, h], activation, n)
        for c in range(n):
            total[c] += out * max(activation[c], np.float32(0.0))
    most = np.float32(-np.inf)
    for c in range(n):
        most = max(most, total[c])
    for c in range(n):
        ranker.probability[c] = exp(total[c] - most)
    mass = np.float32(0.0)
    for c in range(n):
        mass += ranker.probability[c]
    for c in range(n):
        ranker.probability[c] /= mass


@kernel
def _add_weighted(x, w, total, n):
    """total[c] += sum over features f of w[f] * x[f, c], N_ABREAST features in a pass."""
    for f in range(0, w.size, N_ABREAST):
        w_0, w_1, w_2, w_3 = w[f], w[f + 1], w[f + 2], w[f + 3]
        w_4, w_5, w_6, w_7 = w[f + 4], w[f + 5], w[f + 6], w[f + 7]
        x_0, x_1, x_2, x_3 = x[f], x[f + 1], x[f + 2], x[f + 3]
        x_4, x_5, x_6, x_7 = x[f + 4], x[f + 5], x[f + 6], x[f + 7]
        for c in range(n):
            first = (w_0 * x_0[c] + w_1 * x_1[c]) + (w_2 * x_2[c] + w_3 * x_3[c])
            second = (w_4 * x_4[c] + w_5 * x_5[c]) + (w_6 * x_6[c] + w_7 * x_7[c])
            total[c] += first + second


@kernel
def learn(ranker, x, n, taken):
    """One step towards the taken candidate, from the scores at hand; x and n as they were scored."""
    weights, gradient = ranker.weights, ranker.gradient
    n_features = weights.linear.size
    gradient.linear[:] = 0.0
    gradient.hidden[:] = 0.0
    gradient.bias[:] = 0.0
    gradient.out[:] = 0.0
    n_moving = _push_back(ranker, n, taken)
    moving, wrong, back = ranker.moving, ranker.wrong, ranker.back
    for at in range(0, n_moving, 4):
        c_0, c_1, c_2, c_3 = moving[at], moving[at + 1], moving[at + 2], moving[at + 3]
        wrong_0, wrong_1, wrong_2, wrong_3 = wrong[at], wrong[at + 1], wrong[at + 2], wrong[at + 3]
        back_0, back_1, back_2, back_3 = back[at], back[at + 1], back[at + 2], back[at + 3]
        for f in range(n_features):
            v_0, v_1, v_2, v_3 = x[f, c_0], x[f, c_1], x[f, c_2], x[f, c_3]
            gradient.linear[f] += wrong_0 * v_0 + wrong_1 * v_1 + wrong_2 * v_2 + wrong_3 * v_3
            own = gradient.hidden[f]
            for h in range(N_HIDDEN):
                own[h] += v_0 * back_0[h] + v_1 * back_1[h] + v_2 * back_2[h] + v_3 * back_3[h]
    ranker.n_updates[0] += 1
    n_updates = np.float32(ranker.n_updates[0])
    unbias_first = np.float32(1.0) / (np.float32(1.0) - _MOMENTUM**n_updates)
    unbias_second = np.float32(1.0) / (np.float32(1.0) - _SPREAD**n_updates)
    first, second = ranker.first_moment, ranker.second_moment
    _adam(weights.linear, gradient.linear, first.linear, second.linear, unbias_first, unbias_second)
    _adam(weights.bias, gradient.bias, first.bias, second.bias, unbias_first, unbias_second)
    _adam(weights.out, gradient.out, first.out, second.out, unbias_first, unbias_second)
    for f in range(n_features):
        _adam(
            weights.hidden[f],
            gradient.hidden[f],
            first.hidden[f],
            second.hidden[f],
            unbias_first,
            unbias_second,
        )


@kernel
def _push_back(ranker, n, taken):
    """Gradients of what lies behind the hidden layer, and in `back` what goes on through it.

    Returns:
        How many candidates move the weights, a multiple of four: `ranker.moving` names them, the last of them may move nothing.
    """
    weights, gradient, back = ranker.weights, ranker.gradient, ranker.back
    n_moving = 0
    for c in range(n):
        wrong = ranker.probability[c] - np.float32(c == taken)
        if abs(wrong) < _FAINT:
            continue
        own = back[n_moving]
        for h in range(N_HIDDEN):
            activation = ranker.activation[h, c]
            lit = np.float32(activation > 0.0) * wrong
            gradient.out[h] += lit * activation
            own[h] = lit * weights.out[h]
            gradient.bias[h] += own[h]
        ranker.wrong[n_moving] = wrong
        ranker.moving[n_moving] = c
        n_moving += 1
    while n_moving % 4 > 0:
        back[n_moving] = 0.0
        ranker.wrong[n_moving] = 0.0
        ranker.moving[n_moving] = 0
        n_moving += 1
    return n_moving


@kernel
def _adam(weight, gradient, first, second, unbias_first, unbias_second):
    for i in range(weight.size):
        first[i] = _MOMENTUM * first[i] + (np.float32(1.0) - _MOMENTUM) * gradient[i]
        second[i] = _SPREAD * second[i] + (np.float32(1.0) - _SPREAD) * gradient[i] * gradient[i]
        weight[i] -= RATE * first[i] * unbias_first / (np.sqrt(second[i] * unbias_second) + _EPSILON)
