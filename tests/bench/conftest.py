"""The benches are scripts beside the package: their folder is what they import from."""

import sys

from bench_folder import BENCH

sys.path.insert(0, str(BENCH))
