"""The attention network as a value: what a round of training does, and what it must not."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from streamer.propagate import (
    Architecture,
    Examples,
    Inputs,
    Network,
    digest,
    encode,
    export,
    new_network,
    training,
)
from streamer.propagate.forward import item_inputs, item_vectors
from streamer.propagate.network import BY_ROW, hashed_rows
from streamer.propagate.settings import take
from streamer.propagate.step import Slice, parameters_of, take_slice
from streamer.propagate.training import train_round, user_vectors

TEXT_DIM = 6
SMALL = Architecture(dim=8, n_history=5, batch_size=16, n_buffered=256, max_full_softmax=1000)


def some_inputs(n_items: int, seed: int = 3, n_nodes: int = 9) -> Inputs:
    """Drawn texts, feature nodes and neighbours; every item is known."""
    rng = np.random.default_rng(seed)
    return Inputs(
        text=rng.standard_normal((n_items, TEXT_DIM)).astype(np.float32),
        nodes=rng.integers(0, n_nodes + 1, (n_items, 4)).astype(np.int32),
        known=np.ones(n_items, np.bool_),
        neighbours=rng.integers(0, n_items + 1, (n_items, 3)).astype(np.int32),
    )


def some_examples(n: int, n_items: int, n_history: int = 5, seed: int = 4) -> Examples:
    """Histories of every length, 0 too; some ratings missing."""
    rng = np.random.default_rng(seed)
    items = rng.integers(0, n_items, (n, n_history)).astype(np.int32)
    items[np.arange(n_history)[None, :] >= rng.integers(0, n_history + 1, n)[:, None]] = -1
    z_score = rng.standard_normal((n, n_history)).astype(np.float32)
    z_score[rng.random((n, n_history)) < 0.3] = np.nan
    return Examples(
        target=rng.integers(0, n_items, n).astype(np.int32),
        items=items,
        gap_s=(10.0 ** rng.uniform(0, 7, (n, n_history))).astype(np.float32),
        z_score=z_score,
    )


def trained(architecture: Architecture = SMALL, n_rounds: int = 2, n_items: int = 30) -> Network:
    """A network after some rounds of drawn examples."""
    network = new_network(architecture, TEXT_DIM)
    for n in range(n_rounds):
        network = train_round(network, some_examples(40, n_items, seed=n), some_inputs(n_items))
    return network


def successions(n: int, n_items: int, n_history: int, seed: int) -> Examples:
    """Item i is always followed by i + 1, from a random start."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, n_items, n)
    items = (target[:, None] - 1 - np.arange(n_history)) % n_items
    return Examples(
        target.astype(np.int32),
        items.astype(np.int32),
        np.tile(60.0 * np.arange(1, n_history + 1, dtype=np.float32), (n, 1)),
        np.full((n, n_history), np.nan, np.float32),
    )


def test_same_rounds_give_the_same_network_and_another_seed_another() -> None:
    """Training is a function of its arguments, down to the bit."""
    assert digest(trained()) == digest(trained())
    assert digest(trained()) != digest(trained(SMALL._replace(seed=1)))
    sampled = SMALL._replace(max_full_softmax=0, n_negatives=8)
    assert digest(trained(sampled)) == digest(trained(sampled))


def test_training_keeps_and_changes_none_of_its_arguments() -> None:
    """Whatever comes later, a network that was handed out stays what it was: nothing after an event reaches back."""
    # so small a ring that every round overwrites what the last one put there
    a = SMALL._replace(n_buffered=32)
    first = train_round(new_network(a, TEXT_DIM), some_examples(40, 30), some_inputs(30))
    before = digest(first)
    examples, inputs = some_examples(40, 30, seed=5), some_inputs(30)
    copies = [array.copy() for array in (*examples, *inputs)]
    one = digest(train_round(first, examples, inputs))
    other = digest(train_round(first, some_examples(40, 30, seed=6), inputs))
    assert one != other
    assert digest(first) == before
    for array, copy in zip((*examples, *inputs), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        array[:] = 1  # what was handed over is not kept: the caller may write there
    assert digest(first) == before


@pytest.mark.parametrize("item_steps", [0, 1])
def test_one_step_is_adam_on_the_cross_entropy_with_all_gradients_at_the_old_values(item_steps: int) -> None:
    """Users, items and features all move from what they were before the step: as plain autograd and torch's own Adam."""
    a = SMALL._replace(id_dropout=0.0, n_replayed=0, item_steps=item_steps)
    inputs, examples = some_inputs(12), some_examples(16, 12)
    start = new_network(a, TEXT_DIM)
    after = train_round(start, examples, inputs)
    at_start = train_round(start, take(examples, slice(0, 0)), inputs)  # grown, not moved
    p = {name: torch.tensor(value, requires_grad=True) for name, value in at_start.weights.items()}

    nodes, near = torch.tensor(inputs.nodes).long(), torch.tensor(inputs.neighbours).long()
    with_none = torch.cat([torch.zeros(1, a.dim), p["node"]])
    n_nodes = (nodes > 0).sum(1, keepdim=True).clamp(min=1)
    x = p["item"][:12] + torch.tensor(inputs.text) @ p["text"] + with_none[nodes].sum(1) / n_nodes**0.5
    h = x @ p["item_out"]
    if item_steps:
        n_near = (near > 0).sum(1, keepdim=True).clamp(min=1)
        h = h + torch.cat([torch.zeros(1, a.dim), x])[near].sum(1) / n_near @ p["neighbour"]
    losses = []
    for n in range(16):
        there = examples.items[n] >= 0
        bucket = np.minimum(23, np.log2(1 + examples.gap_s[n][there].astype(float) / 30).astype(int))
        z_score = torch.tensor(np.nan_to_num(examples.z_score[n][there]))
        past = examples.items[n][there]
        u = p["h_0"]
        if past.size:
            z = x[past] + p["gap_value"][bucket] + p["pos_value"][: past.size]
            z = z + z_score[:, None] * p["rating_value"]
            alpha = torch.softmax(p["gap_bias"][bucket] + p["pos_bias"][: past.size], 0)
            u = u + x[past[0]] @ p["self_loop"]
            for head in range(a.n_heads):
                u = u + (alpha[:, head] @ z) @ p["mix"][head]
        logits = p["scale"] * (h @ u) + p["bias"][:12, 0]
        target = int(examples.target[n])
        barred = [item for item in past.tolist() if item != target]
        logits = logits.index_fill(0, torch.tensor(barred, dtype=torch.long), -1e9)
        losses.append(functional.cross_entropy(logits[None], torch.tensor([target])))
    groups = [
        {"params": [p[name] for name in p if name in BY_ROW], "lr": a.embedding_rate},
        {"params": [p[name] for name in p if name not in BY_ROW], "lr": a.rate},
    ]
    optimizer = torch.optim.Adam(groups)
    torch.stack(losses).mean().backward()
    optimizer.step()
    for name, value in p.items():
        # Adam's first step has the size of the rate wherever there is a gradient: one that is nothing but rounding may have
        # either sign, so gradients under 1e-7 are not compared
        clear = np.abs(value.grad.numpy()) > 1e-7 if value.grad is not None else np.zeros(value.shape, bool)
        moved = value.detach().numpy()
        np.testing.assert_allclose(after.weights[name][clear], moved[clear], atol=2e-4, err_msg=name)
        assert clear.any(), name


def test_negatives_that_cover_the_catalog_train_as_the_full_softmax() -> None:
    """With chance 1 to be drawn, the correction vanishes, and sampled and full softmax are one."""
    full = SMALL._replace(id_dropout=0.0, n_replayed=0)
    sampled = full._replace(max_full_softmax=0, n_negatives=20_000)
    one, other = trained(full, n_rounds=1, n_items=12), trained(sampled, n_rounds=1, n_items=12)
    for name, value in one.weights.items():
        np.testing.assert_allclose(other.weights[name], value, atol=2e-3, err_msg=name)


def test_a_catalog_that_is_sampled_is_never_sliced_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice for each step, and none of all items: their texts alone would be gigabytes that no step reads."""
    sizes = []

    def spy(net: Network, inputs: Inputs, rows: NDArray[np.int64], *more: Any) -> Slice:
        sizes.append(rows.size)
        return take_slice(net, inputs, rows, *more)

    monkeypatch.setattr(training, "take_slice", spy)
    a = SMALL._replace(max_full_softmax=999, n_negatives=4, n_replayed=0)
    train_round(new_network(a, TEXT_DIM), some_examples(2, 1_000), some_inputs(1_000))
    assert len(sizes) == 1
    assert max(sizes) < 100
    train_round(new_network(a, TEXT_DIM), some_examples(2, 999), some_inputs(999))
    assert sizes[1:] == [999]


def test_sampled_negatives_teach_the_same_popularity_as_all_items() -> None:
    """Popular items are sampled as negatives more often, and the correction takes just that off: scores learn log popularity."""
    n_items = 16
    a = SMALL._replace(max_full_softmax=0, n_negatives=4, n_replayed=0, use_ids=False, embedding_rate=0.02)
    rng = np.random.default_rng(0)
    chance = 0.8 ** np.arange(n_items)
    inputs = some_inputs(n_items)._replace(text=np.zeros((n_items, TEXT_DIM), np.float32))
    inputs.nodes[:] = 0
    network = new_network(a, TEXT_DIM)
    nobody = some_examples(1, n_items)._replace(items=np.full((1, 5), -1, np.int32))
    for _ in range(10):
        targets = rng.choice(n_items, 1600, p=chance / chance.sum()).astype(np.int32)
        network = train_round(
            network, take(nobody, np.zeros(1600, np.int64))._replace(target=targets), inputs
        )
    slope = np.polyfit(np.log(chance), network.weights["bias"][:n_items, 0], 1)[0]
    assert 0.7 < slope < 1.3


@pytest.mark.timeout(300)  # twelve rounds of training, where others use the cores, too
@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        SMALL._replace(attention="graph"),
        SMALL._replace(item_steps=0),
        SMALL._replace(max_full_softmax=0, n_negatives=10),
        SMALL._replace(use_text=False, use_features=False),
    ],
)
def test_a_planted_succession_is_learned(architecture: Architecture) -> None:
    """Where every item is followed by the next, the next comes first far more often than by chance (1 in 40)."""
    n_items = 40
    inputs = some_inputs(n_items)
    network = new_network(architecture._replace(dim=16, embedding_rate=0.02, rate=0.01), TEXT_DIM)
    asked = successions(200, n_items, 5, seed=99)

    def hit_ratio() -> float:
        tables = export(network, inputs)
        scores = user_vectors(network, asked, inputs) @ tables.h.T + tables.bias
        np.put_along_axis(scores, asked.items.astype(np.int64), -np.inf, axis=1)  # taken just now
        return float((scores.argmax(1) == asked.target).mean())

    before = hit_ratio()
    for n in range(12):
        network = train_round(network, successions(256, n_items, 5, seed=n), inputs)
    assert before < 0.2
    assert hit_ratio() > 0.9


def test_growth_cannot_be_seen() -> None:
    """Rows stand at the same values whether they came one by one or at once, and rows nobody took change nothing."""
    rows = np.arange(3000)
    whole = hashed_rows(7, "item", rows, 8)
    np.testing.assert_array_equal(
        np.concatenate([hashed_rows(7, "item", rows[n::3], 8) for n in range(3)]),
        np.concatenate([whole[n::3] for n in range(3)]),
    )
    assert np.abs(whole).max() <= 0.05
    assert abs(float(whole.mean())) < 0.001
    inputs, many = some_inputs(30), some_inputs(3000, n_nodes=40)
    for small, large in zip(inputs, many, strict=True):
        large[:30] = small
    many.known[30:] = False
    examples = [some_examples(40, 30, seed=n) for n in range(3)]
    late = early = new_network(SMALL, TEXT_DIM)
    for n, batch in enumerate(examples):
        early = train_round(early, batch, many)
        late = train_round(late, batch, many if n == 2 else inputs)
    assert digest(early) == digest(late)


def test_an_item_is_worth_the_same_alone_and_in_the_tables() -> None:
    """A new item's vectors need not wait for the next export, also when the network has not grown to its row yet."""
    for a in (SMALL, SMALL._replace(item_steps=0), SMALL._replace(attention="graph")):
        network, inputs = trained(a), some_inputs(1500)
        tables = export(network, inputs)
        rows = np.array([3, 29, 31, 1400])
        for alone, whole in zip(encode(network, inputs, rows), tables[:3], strict=True):
            np.testing.assert_allclose(alone, whole[rows], atol=1e-6)


def test_the_tables_score_as_the_network_that_was_trained() -> None:
    """h of every item, with the learned scale in it, is what the forward pass of training gives."""
    for a in (SMALL, SMALL._replace(item_steps=0), SMALL._replace(attention="graph")):
        network, inputs, rows = trained(a._replace(rate=0.03)), some_inputs(30), np.arange(30)
        part = take_slice(network, inputs, rows, rows, np.zeros(30, np.float32))
        p = parameters_of(network, part.rows, part.node_rows)
        _, x = item_inputs(a, p, part.fixed, None)
        h = item_vectors(a, p, x, x, part.fixed) * p["scale"]
        np.testing.assert_allclose(export(network, inputs).h, h.detach().numpy(), atol=1e-5)
        assert abs(float(network.weights["scale"][0]) - 1.0) > 1e-3


def test_whole_numbers_stand_for_text_in_127ths() -> None:
    """Text kept in 8 bits is read as the numbers it stands for."""
    inputs = some_inputs(30)
    eighths = np.clip(np.round(inputs.text * 40), -127, 127).astype(np.int8)
    as_int = inputs._replace(text=eighths)
    as_float = inputs._replace(text=eighths.astype(np.float32) / np.float32(127))
    network = trained()
    np.testing.assert_array_equal(export(network, as_int).h, export(network, as_float).h)
    examples = some_examples(40, 30)
    assert digest(train_round(network, examples, as_int)) == digest(train_round(network, examples, as_float))


def test_what_the_user_just_took_and_what_is_not_known_are_no_negatives() -> None:
    """The bias of an item moves only if it was a target or a negative."""
    inputs = some_inputs(10)
    inputs.known[7:] = False
    examples = Examples(
        target=np.array([0, 8], np.int32),
        items=np.array([[1, 2, -1, -1, -1], [3, -1, -1, -1, -1]], np.int32),
        gap_s=np.ones((2, 5), np.float32),
        z_score=np.zeros((2, 5), np.float32),
    )
    bias = train_round(new_network(SMALL, TEXT_DIM), examples, inputs).weights["bias"][:10, 0]
    # the second example is passed over, since nobody may list its target: 3 is a negative of the first
    assert bias[0] > 0
    assert (bias[[3, 4, 5, 6]] < 0).all()
    assert (bias[[1, 2, 7, 8, 9]] == 0).all()


def test_the_ring_keeps_the_last_examples() -> None:
    """Example number n stands at n modulo the ring's size; older ones are gone."""
    a = SMALL._replace(n_buffered=16, batch_size=7)
    network = new_network(a, TEXT_DIM)
    rounds = [some_examples(25, 30, seed=n) for n in range(2)]
    for examples in rounds:
        network = train_round(network, examples, some_inputs(30))
    targets = np.concatenate([examples.target for examples in rounds])
    assert network.n_seen == 50
    np.testing.assert_array_equal(network.buffer.target[np.arange(34, 50) % 16], targets[34:])
    np.testing.assert_array_equal(network.n_taken[:30], np.bincount(targets, minlength=30))


def test_ranking_needs_no_torch() -> None:
    """A process that reads a network's tables, and does not train, does not pay for torch."""
    code = "import sys, streamer.propagate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
