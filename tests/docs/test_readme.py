"""What the README says is true: commands, examples, tables and links are held against the code."""

import io
import json
import re
import tomllib
from pathlib import Path

import commands
import jsonschema
import pytest
import tables
import typer
from rich.console import Console

from streamer import datasets
from streamer.cli import app
from streamer.cli.commands import A_SET
from streamer.client import Recommendations
from streamer.demo import ending

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"<!-- schema: (\S+) -->\n```json\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("line", list(commands.command_lines(README)))
def test_commands_parse(line: str) -> None:
    """A command of the README is one that the CLI takes."""
    commands.parse(line)


def test_there_are_commands() -> None:
    """The check above has something to look at."""
    assert len(list(commands.command_lines(README))) > 10


def test_a_wrong_command_is_noticed() -> None:
    """The check above can fail: unknown commands, unknown flags."""
    with pytest.raises(commands.RefusedError):
        commands.parse("streamer walk")
    with pytest.raises(commands.RefusedError):
        commands.parse("streamer run --kafak localhost:9092")


def test_the_commands_that_the_demo_prints_parse() -> None:
    """The demo ends with commands to look for oneself; they are ones that the CLI takes."""
    console = Console(file=io.StringIO(), width=200)
    ending.commands(
        console,
        kafka="127.0.0.1:1",
        redis_port=2,
        redis_url="redis://127.0.0.1:2",
        metrics="http://127.0.0.1:3",
        log=Path("/tmp/a b/worker.log"),  # noqa: S108  only printed
        user_id="-x; rm -rf '$HOME'",  # an id is data: quoted for the shell, and no option
        keep=True,
    )
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    own = [re.sub(r"^\S*streamer ", "streamer ", line) for line in lines if re.match(r"\S*streamer ", line)]
    assert len(own) == 3
    for line in own:
        commands.parse(line)


def test_every_json_example_names_its_schema() -> None:
    """No example escapes the check below."""
    assert len(EXAMPLES) == README.count("```json") > 0


@pytest.mark.parametrize(("schema", "example"), EXAMPLES)
def test_json_examples_are_valid(schema: str, example: str) -> None:
    """An example of the README is a document of its schema."""
    document = json.loads(example)
    contract = json.loads((ROOT / f"schemas/{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator(contract).validate(document)


def test_python_examples_run(redis_url: str) -> None:
    """The README's Python runs as it stands, but for the address."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = example.replace("redis://localhost:6379/0", redis_url)
    exec(compile(code, "README.md", "exec"), {"Recommendations": Recommendations})  # noqa: S102  our own text


@pytest.mark.parametrize("name", ["metrics", "settings"])
def test_tables_are_the_code_s(name: str) -> None:
    """Metrics and settings as the code declares them; `python tests/docs/tables.py` writes them anew."""
    assert tables.between(README, name) == getattr(tables, name)()


def test_links_lead_somewhere() -> None:
    """Every relative link and picture is a file of the repo."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert links
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []


def test_ops_commands_exist_and_can_be_run() -> None:
    """`ops/demo` and the like in the text are executable files."""
    named = set(re.findall(r"\bops/(?:demo|test|setup)\b", README))
    assert {"ops/demo", "ops/test"} <= named
    assert all((ROOT / name).stat().st_mode & 0o111 for name in named)


def test_flags_of_the_demo_in_the_text_exist() -> None:
    """The text names flags of ops/demo."""
    for flag in ("--keep", "--events 0 --keep", "--events 5", "--rate 5", "--data ops/data/online-retail"):
        assert flag.split()[0] in README
        commands.parse(f"streamer demo {flag}")


def test_a_data_set_is_described_as_it_is_read() -> None:
    """Whoever brings one of his own finds its files, its columns and the unit of its timestamps in the text and in --help."""
    events = ", ".join(datasets._EVENT_COLUMNS)
    for text in (README, A_SET):
        assert {"events.csv", "items.csv", "users.csv"} <= set(re.findall(r"\b\w+\.csv\b", text))
        assert re.search(rf"{events} in epoch \*?seconds", " ".join(text.split()))
    for name in ("demo", "replay"):
        options = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
        assert any((option.help or "").startswith(A_SET) for option in options)


def test_python_version_is_the_project_s() -> None:
    """The README, the set-up script and pyproject.toml ask for the same Python."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(
        ">="
    )
    assert f"Python {version} or newer" in README
    major, minor = version.split(".")
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "ops/setup").read_text()
