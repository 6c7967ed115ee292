"""Where the benches are."""

from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "ops" / "bench"
