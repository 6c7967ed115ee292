"""Score and learn: `log p_mix + linear.x + out.relu(hidden'x + bias)`, trained on the listwise softmax, one event at a time.

    score  z_c, and q = softmax(z) over the candidates
    loss   -log q_taken                       (Cao et al. 2007, ListNet with one relevant item)
    step   Adam (Kingma and Ba 2015), one an event; an event whose item is not among the candidates teaches nothing

Candidates lie in rows, so that every inner loop runs over hidden units and vectorises without reordering sums: the same numbers
on every machine. Four features, or four candidates, go into one pass of that loop (6 times as fast as one). What weighs next to
nothing in the gradient is left out.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.ranker.state import N_HIDDEN, N_RANKED

RATE = np.float32(1e-3)
_MOMENTUM, _SPREAD, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
_FAINT = np.float32(1e-4)  # gradient of a score below which a candidate is not worth a pass


@kernel
def score(ranker):
    """Scores and probabilities of the `ranker.n[0]` candidates described in `ranker.x`."""
    weights, n = ranker.weights, ranker.n[0]
    n_features, linear, hidden = weights.linear.size, weights.linear, weights.hidden
    most = np.float32(-np.inf)
    for c in range(n):
        x, activation = ranker.x[c], ranker.activation[c]
        total = ranker.base[c]
        for h in range(N_HIDDEN):
            activation[h] = weights.bias[h]
        for f in range(0, n_features, 4):
            x_0, x_1, x_2, x_3 = x[f], x[f + 1], x[f + 2], x[f + 3]
            w_0, w_1, w_2, w_3 = hidden[f], hidden[f + 1], hidden[f + 2], hidden[f + 3]
            total += x_0 * linear[f] + x_1 * linear[f + 1] + x_2 * linear[f + 2] + x_3 * linear[f + 3]
            for h in range(N_HIDDEN):
                activation[h] += x_0 * w_0[h] + x_1 * w_1[h] + x_2 * w_2[h] + x_3 * w_3[h]
        for h in range(N_HIDDEN):
            total += weights.out[h] * max(activation[h], np.float32(0.0))
        ranker.score[c] = total
        most = max(most, total)
    mass = np.float32(0.0)
    for c in range(n):
        ranker.probability[c] = np.exp(ranker.score[c] - most)
        mass += ranker.probability[c]
    for c in range(n):
        ranker.probability[c] /= mass


@kernel
def learn(ranker, taken):
    """One step towards the taken candidate, from the scores at hand."""
    weights, gradient = ranker.weights, ranker.gradient
    n_features = weights.linear.size
    gradient.linear[:] = 0.0
    gradient.hidden[:] = 0.0
    gradient.bias[:] = 0.0
    gradient.out[:] = 0.0
    n_moving = _push_back(ranker, taken)
    moving, wrong = ranker.moving, ranker.wrong
    for at in range(0, n_moving, 4):
        c_0, c_1, c_2, c_3 = moving[at], moving[at + 1], moving[at + 2], moving[at + 3]
        x_0, x_1, x_2, x_3 = ranker.x[c_0], ranker.x[c_1], ranker.x[c_2], ranker.x[c_3]
        wrong_0, wrong_1, wrong_2, wrong_3 = wrong[c_0], wrong[c_1], wrong[c_2], wrong[c_3]
        back_0, back_1 = ranker.activation[c_0], ranker.activation[c_1]
        back_2, back_3 = ranker.activation[c_2], ranker.activation[c_3]
        for f in range(n_features):
            v_0, v_1, v_2, v_3 = x_0[f], x_1[f], x_2[f], x_3[f]
            gradient.linear[f] += wrong_0 * v_0 + wrong_1 * v_1 + wrong_2 * v_2 + wrong_3 * v_3
            own = gradient.hidden[f]
            for h in range(N_HIDDEN):
                own[h] += v_0 * back_0[h] + v_1 * back_1[h] + v_2 * back_2[h] + v_3 * back_3[h]
    ranker.n_updates[0] += 1
    n = np.float32(ranker.n_updates[0])
    unbias_first = np.float32(1.0) / (np.float32(1.0) - _MOMENTUM**n)
    unbias_second = np.float32(1.0) / (np.float32(1.0) - _SPREAD**n)
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
def _push_back(ranker, taken):
    """Gradients of what lies behind the hidden layer, and in `activation` what goes on through it.

    Returns:
        How many candidates move the weights, a multiple of four: `ranker.moving` names them, the last of them may be all zero.
    """
    weights, gradient, moving = ranker.weights, ranker.gradient, ranker.moving
    n_moving = 0
    for c in range(ranker.n[0]):
        wrong = ranker.probability[c] - np.float32(c == taken)
        if abs(wrong) < _FAINT:
            continue
        activation = ranker.activation[c]
        for h in range(N_HIDDEN):
            lit = np.float32(activation[h] > 0.0) * wrong
            gradient.out[h] += lit * activation[h]
            activation[h] = lit * weights.out[h]
            gradient.bias[h] += activation[h]
        ranker.wrong[c] = wrong
        moving[n_moving] = c
        n_moving += 1
    while n_moving % 4 > 0:
        moving[n_moving] = N_RANKED
        n_moving += 1
    return n_moving


@kernel
def _adam(weight, gradient, first, second, unbias_first, unbias_second):
    for i in range(weight.size):
        first[i] = _MOMENTUM * first[i] + (np.float32(1.0) - _MOMENTUM) * gradient[i]
        second[i] = _SPREAD * second[i] + (np.float32(1.0) - _SPREAD) * gradient[i] * gradient[i]
        weight[i] -= RATE * first[i] * unbias_first / (np.sqrt(second[i] * unbias_second) + _EPSILON)
