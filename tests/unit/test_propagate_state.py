"""The attention network as arrays for a checkpoint, its digest, and what it refuses to be or to read."""

import numpy as np
import pytest
from test_propagate import SMALL, TEXT_DIM, some_examples, some_inputs, trained

from streamer.propagate import Architecture, digest, export, from_arrays, learner, new_network, to_arrays
from streamer.propagate.learner import Learner, Round
from streamer.propagate.network import grown, hashed_rows, without_rows
from streamer.propagate.settings import no_examples
from streamer.propagate.training import train_round


def test_a_network_survives_being_taken_apart() -> None:
    """From its arrays it is the same network, and goes on the same way."""
    network = trained()
    arrays = to_arrays(network)
    again = from_arrays(SMALL, TEXT_DIM, arrays)
    assert digest(again) == digest(network)
    examples, inputs = some_examples(40, 30, seed=9), some_inputs(30)
    assert digest(train_round(again, examples, inputs)) == digest(train_round(network, examples, inputs))
    arrays["weights.text"][:] = 0
    assert digest(again) == digest(from_arrays(SMALL, TEXT_DIM, to_arrays(again)))


def test_every_array_counts_in_the_digest() -> None:
    """A bit that differs anywhere in what a checkpoint holds is seen."""
    network = trained()
    digests = {digest(network)}
    arrays = to_arrays(network)
    for name in arrays:
        changed = {other: array.copy() for other, array in arrays.items()}
        changed[name].reshape(-1)[0] += 1
        digests.add(digest(from_arrays(SMALL, TEXT_DIM, changed)))
    assert len(digests) == len(arrays) + 1


def test_arrays_of_another_network_are_refused() -> None:
    """An array that is missing or of another shape is named."""
    arrays = to_arrays(trained())
    with pytest.raises(ValueError, match=r"weights\.mix"):
        from_arrays(SMALL, TEXT_DIM, {name: array for name, array in arrays.items() if name != "weights.mix"})
    with pytest.raises(ValueError, match=r"weights\.text: expected float32 \(7, 8\)"):
        from_arrays(SMALL, TEXT_DIM + 1, arrays)
    with pytest.raises(ValueError, match="item"):
        from_arrays(SMALL._replace(dim=4), TEXT_DIM, arrays)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"dim": 0}, "dim: expected at least 1"),
        ({"dim": 7}, "dim: expected a multiple of 2"),
        ({"n_history": 33}, "n_history: expected 1 to 32, got 33"),
        ({"attention": "all"}, "attention: expected"),
        ({"item_steps": 2}, "item_steps: expected 0 or 1"),
        ({"n_replayed": -1}, "n_replayed: expected 0 or more"),
        ({"id_dropout": 1.0}, "id_dropout: expected a share"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, object], match: str) -> None:
    """A network that cannot be is never made."""
    with pytest.raises(ValueError, match=match):
        new_network(Architecture()._replace(**setting), TEXT_DIM)


def test_arrays_that_do_not_fit_are_refused() -> None:
    """The message names the array, what was expected and what came."""
    network, inputs, examples = new_network(SMALL, TEXT_DIM), some_inputs(30), some_examples(9, 30)
    for bad, match in (
        (inputs._replace(text=inputs.text[:, :5]), r"inputs\.text: expected shape \(30, 6\), got \(30, 5\)"),
        (inputs._replace(nodes=inputs.nodes[:29]), r"inputs\.nodes: expected 30 rows"),
        (inputs._replace(neighbours=inputs.neighbours + 30), r"inputs\.neighbours: expected item rows \+ 1"),
    ):
        with pytest.raises(ValueError, match=match):
            train_round(network, examples, bad)
        with pytest.raises(ValueError, match=match):
            export(network, bad)
    with pytest.raises(ValueError, match=r"examples\.items: expected item rows of the inputs, -1 to 29, got"):
        train_round(network, examples._replace(items=examples.items + 5), some_inputs(30))
    with pytest.raises(ValueError, match=r"examples\.gap_s: expected shape \(9, 5\)"):
        train_round(network, examples._replace(gap_s=examples.gap_s[:, :4]), inputs)


def test_items_that_go_leave_nothing_in_the_network() -> None:
    """Their rows stand at their first values, no example names them, and histories close up; the others' rows stay."""
    net = grown(new_network(Architecture(dim=4, n_buffered=4, n_history=3), 0), 6, 2)
    net = net._replace(n_seen=6, n_taken=np.arange(net.n_taken.size))
    for tables in (net.weights, net.mean, net.square):
        for name in ("item", "bias"):
            tables[name][:] = 7.0
    net.buffer.target[:] = [4, 5, 2, 3]  # the oldest stands at 2
    net.buffer.items[:] = [[1, 2, 3], [2, 1, -1], [3, 4, -1], [5, 1, 4]]
    net.buffer.gap_s[:] = np.arange(12).reshape(4, 3)
    left = without_rows(net, np.array([1, 3, 5_000]))
    first = hashed_rows(0, "item", np.array([1, 3]), 4)
    assert left.weights["item"][[1, 3]].tolist() == first.tolist()
    assert not left.mean["item"][[1, 3]].any()
    assert left.n_taken[:5].tolist() == [0, 0, 2, 0, 4]
    assert (left.weights["item"][[0, 2, 4]] == 7.0).all()
    assert left.n_seen == 3  # that of target 3 went
    assert left.buffer.target[:3].tolist() == [2, 4, 5]
    assert left.buffer.items[:3].tolist() == [[4, -1, -1], [2, -1, -1], [2, -1, -1]]
    assert left.buffer.gap_s[:3, 0].tolist() == [7.0, 1.0, 3.0]
    assert (net.weights["item"] == 7.0).all()  # a value: the one before stays as it was
    assert net.buffer.target.tolist() == [4, 5, 2, 3]
    assert without_rows(left, np.array([2])).n_seen == 0  # no history is left of any example


def test_a_trainer_forgets_rows_that_changed_hands() -> None:
    """Its inputs of them go, and their places among the neighbours of others, before it hears of who has them now."""
    learner = Learner()
    nobody = np.zeros(0, np.int64)
    first = Round(
        no_examples(0, 20),
        3,
        np.arange(3),
        np.ones((3, 2), np.int8),
        np.ones((3, 16), np.int32),
        np.ones(3, np.bool_),
        np.full((3, 8), 2, np.int32),
        nobody,
    )
    learner.learn(first)
    again = first._replace(
        rows=np.array([1]),
        text=np.zeros((1, 2), np.int8),
        nodes=np.zeros((1, 16), np.int32),
        known=np.zeros(1, np.bool_),
        neighbours=np.zeros((1, 8), np.int32),
        evicted=np.array([1]),
    )
    learner.learn(again)
    inputs = learner.freeze()
    assert inputs["inputs.known"].tolist() == [True, False, True]
    assert not inputs["inputs.neighbours"].any()  # all of them named row 1
    assert not inputs["inputs.text"][1].any()
    assert inputs["inputs.text"][0, :2].tolist() == [1, 1]


def test_a_large_catalog_is_exported_every_other_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three items, where two are a round's worth: the first round gives no tables, the second those of version 2."""
    monkeypatch.setattr(learner, "_ITEMS_A_EXPORT", 2)
    training = Learner()
    nothing = Round(
        no_examples(0, 20),
        3,
        np.zeros(0, np.int64),
        np.zeros((0, 2), np.int8),
        np.zeros((0, 16), np.int32),
        np.zeros(0, np.bool_),
        np.zeros((0, 8), np.int32),
        np.zeros(0, np.int64),
    )
    tables = [training.learn(nothing) for _ in range(4)]
    assert [made.version if made is not None else None for made in tables] == [None, 2, None, 4]
