"""The attention network as arrays for a checkpoint, its digest, and what it refuses to be or to read."""

import pytest
from test_propagate import SMALL, TEXT_DIM, some_examples, some_inputs, trained

from streamer.propagate import Architecture, digest, export, from_arrays, new_network, to_arrays
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
