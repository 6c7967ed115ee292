"""The benches are scripts beside the package: their folder is what they import from."""

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "ops" / "bench"
sys.path.insert(0, str(BENCH))
