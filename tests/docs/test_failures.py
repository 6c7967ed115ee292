"""The table of failures in the README names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (?P<what>[^|]+) \| [^|]+ \| (?P<proof>[^|]+) \|$", re.MULTILINE)


def test_every_failure_names_tests_that_are_there() -> None:
    """A row without a test is a promise that nobody holds."""
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## When things go wrong")[2].partition("\n## ")[0]
    rows = [row for row in ROW.finditer(table) if row["what"] != "what happens"]
    assert len(rows) >= 12
    for row in rows:
        proofs = re.findall(r"`(\w+/\w+\.py)(?:::(\w+))?`", row["proof"])
        assert proofs, row["what"]
        for path, test in proofs:
            assert (f"def {test}(" if test else "def test_") in (ROOT / "tests" / path).read_text(), (
                f"{path}::{test}"
            )
