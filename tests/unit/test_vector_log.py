"""The bench of vectors reads no future: what it hands to the network about an event was there before it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "ops" / "bench" / "vector_log.py"


def test_a_history_holds_the_users_earlier_events_only(tmp_path: Path) -> None:
    """Newest first, with the time since each; worked out by looking back from every event."""
    pytest.importorskip("wordllama")
    spec = importlib.util.spec_from_file_location("vector_log", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 5, 80), rng.integers(0, 12, 80)
    times_s = 1_000_000 + np.cumsum(rng.integers(0, 100, 80))
    lines = [f"u{u},i{i},{n % 5},{t}" for n, (u, i, t) in enumerate(zip(users, items, times_s, strict=True))]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,value,timestamp", *lines]))
    rows = [f"i{i},title {i},,c{i % 3},{i}" for i in range(12)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,text,categories,price_first", *rows]))

    log = module.read_log(tmp_path, 80, 4)
    row_of = {item: row for row, item in enumerate(dict.fromkeys(items.tolist()))}
    for n in range(80):
        past = [m for m in range(n) if users[m] == users[n]][::-1]
        last = past[:4]
        assert log.examples.target[n] == row_of[items[n]]
        assert log.examples.items[n].tolist() == [row_of[items[m]] for m in last] + [-1] * (4 - len(last))
        assert log.examples.gap_s[n, : len(last)].tolist() == [times_s[n] - times_s[m] for m in last]
        assert log.first_take[n] == (items[n] not in items[past])
        assert log.n_known[n] == len(set(items[:n].tolist()))
    whole = log.examples
    begun = module.read_log(tmp_path, 50, 4).examples
    for all_events, first_events in zip(whole, begun, strict=True):
        np.testing.assert_array_equal(all_events[:50], first_events)
