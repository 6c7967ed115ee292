"""The tables of the README, made from the code. Run as a script it writes them into the README."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))


def metrics() -> str:
    """One row a metric."""
    from streamer.telemetry import describe

    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {_cell(metric.meaning)} |"
        for metric in describe()
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])


def settings() -> str:
    """One row a setting."""
    from streamer.config import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {default} | {_cell(field.description or '')} |")
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def between(text: str, name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`."""
    match = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", text, re.DOTALL)
    assert match is not None, f"README.md has no place for the table of {name}"
    return match[1]


def fill(text: str) -> str:
    """The text with every table as the code has it now."""
    for name, table in (("metrics", metrics()), ("settings", settings())):
        # A function, since a template would read the backslashes of a table.
        text = re.sub(
            rf"(<!-- {name} -->\n).*?\n?(<!-- /{name} -->)",
            lambda match, table=table: f"{match[1]}{table}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    README.write_text(fill(README.read_text()))
