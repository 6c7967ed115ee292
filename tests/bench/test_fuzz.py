"""The fuzz: a short run of every target finds nothing, and what there is to be found would be."""

import json
import random
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from bench_folder import BENCH
from fuzzing import checkpoints, guided, messages, options
from fuzzing.mutation import Mutator, written

from streamer.errors import ConfigError
from streamer.events import decode

assert str(BENCH) in sys.path  # conftest put it there, before the imports above


def test_structure_is_broken_not_only_bytes():
    """Most of what is broken by structure is still JSON; the same seed breaks in the same way."""
    seed = b'{"user_id": "u", "context": {"device": "phone", "hour": 3}, "timestamp": 5}'

    def some():
        mutator = Mutator(random.Random(3), [seed], ["user_id", "value"])
        return [mutator.broken(mutator.good()) for _ in range(400)]

    broken = some()
    assert broken == some()
    n_json = 0
    for value in broken:
        try:
            n_json += isinstance(json.loads(value), dict)
        except (ValueError, RecursionError):
            continue
    assert n_json > 200
    assert len(set(broken)) > 300


def test_what_no_library_writes_is_written():
    """Raw texts go out without quotes, half a surrogate pair as bytes that are no UTF-8."""
    assert written({"a": "\x00raw:NaN", "b": ["\x00raw:'"]}) == b'{"a": NaN, "b": [\']}'
    with pytest.raises(UnicodeDecodeError):
        written("\ud800").decode()


@pytest.mark.timeout(600)  # the first run on a machine compiles the kernels
def test_messages_are_folded_or_refused():
    """Thousands of messages of all kinds: no crash, each accounted for; enough are valid to fill the tables."""
    verdict = messages.fuzz(6_000, seed=5)
    assert verdict.crashes == []
    assert verdict.n_tried == 6_000
    assert verdict.n_lost == 0
    outcomes = verdict.outcomes
    assert outcomes["interactions learned"] > 600
    assert outcomes["other events folded"] > 300
    assert verdict.notes["items that made room"] > 0
    assert sum(n for what, n in outcomes.items() if what.startswith("refused")) > 2_000
    assert {"refused: json", "refused: utf8", "refused: schema", "refused: number", "refused: key"} <= set(
        outcomes
    )
    assert verdict.notes["lists looked at"] > 0


def test_a_crash_is_seen(monkeypatch):
    """An error that is not the documented one is a crash, with the message that raised it; nothing is lost count of."""

    def decode(kind, key, value):
        if value and b"view" in value:
            raise KeyError("type")
        raise messages.InvalidEvent("json", "$", "no")

    monkeypatch.setattr(messages, "decode", decode)
    verdict = messages.fuzz(500, seed=5)
    assert len(verdict.crashes) == 20  # and there it stops
    assert "KeyError" in verdict.crashes[0]
    assert "view" in verdict.crashes[0]
    assert verdict.n_lost == 0


@pytest.mark.timeout(600)
def test_spoiled_checkpoints_are_refused_or_sound():
    """Whatever is done to a checkpoint: refused, or a state that folds and ranks on; forged hashes do not help."""
    verdict = checkpoints.fuzz(60, 3, lambda: None)
    assert verdict.crashes == []
    assert verdict.n_lost == 0
    outcomes = Counter({what: n for what, n in verdict.outcomes.items() if "refused" in what})
    assert outcomes["bits flipped: refused"] > 0
    assert "bits flipped: taken, and resumed" not in verdict.outcomes
    assert outcomes["header forged: refused"] + outcomes["lengths forged: refused"] > 0


def test_settings_are_taken_or_refused():
    """From environment, file and flags: settings, or a `ConfigError`; of each there are some."""
    verdict = options.fuzz(600, 4)
    assert verdict.crashes == []
    assert verdict.n_lost == 0
    for how in ("environment", "flags", "file", "all"):
        assert verdict.outcomes[f"{how}: refused"] > 0
    assert verdict.outcomes["file: taken"] + verdict.outcomes["environment: taken"] > 0


@pytest.mark.parametrize("target", ["messages", "settings"])
def test_the_guided_fuzz_gives_atheris_what_it_needs(monkeypatch, tmp_path, target):
    """Every target takes its seeds, and what is made of them is no longer than asked; without atheris it says what to install."""
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(ConfigError, match=r"streamer\[fuzz\]"):
        guided.fuzz(target, 1, 1, tmp_path)
    given, seen = {}, []

    def set_up(arguments, target, custom_mutator):
        given.update(arguments=arguments, target=target, mutate=custom_mutator)

    def run():
        for file in sorted((tmp_path / "corpus").iterdir()):
            for number in range(100):
                made = given["mutate"](file.read_bytes(), 64, number)
                assert len(made) <= 64
                given["target"](made)

    fake = SimpleNamespace(
        instrument_func=seen.append, Setup=set_up, Fuzz=run, Mutate=lambda data, size: data[:size]
    )
    monkeypatch.setitem(sys.modules, "atheris", fake)
    guided.fuzz(target, 20, 1, tmp_path / "corpus")
    assert "-runs=20" in given["arguments"]
    assert {function.__module__.partition(".")[0] for function in seen} == {"streamer"}
    assert decode in seen
