"""Reports as tables."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from streamer.drawing import report


@pytest.mark.parametrize("name", ["short", "served-months-users"])
def test_every_valid_report_can_be_shown(name: str) -> None:
    """The tables take any report that the schema allows, with or without its optional parts."""
    path = Path(__file__).resolve().parents[2] / f"schemas/examples/valid/report.v1/{name}.json"
    console = Console(file=io.StringIO(), width=140)
    document = json.loads(path.read_text())
    report.show(console, document)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hit ratio@10 by slice" in printed
    assert "0.250" in printed
    assert ("sampled lists were like" in printed) == ("beyond" in document)


def test_five_lists_fit_into_eighty_columns() -> None:
    """No heading and no figure is cut off on a terminal of the usual width, with half a million events."""
    path = Path(__file__).resolve().parents[2] / "schemas/examples/valid/report.v1/served-months-users.json"
    document = json.loads(path.read_text())
    document["lists"]["mixture"] = document["lists"]["streamer"]
    document["lists"]["streamer"]["all"]["n"] = 500_000
    console = Console(file=io.StringIO(), width=80)
    console.print(report._slices(document))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    for name in ("500,000", "streamer", "served", "mixture", "trending", "popularity", "NDCG", "MRR"):
        assert name in printed
