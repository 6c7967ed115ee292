"""Examples in `schemas/` are judged as their folder says, by the schema and by the code that reads them."""

import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from streamer.client import _DECODER as READER
from streamer.errors import InvalidEvent
from streamer.events import Kind, decode

SCHEMAS = Path(__file__).parents[2] / "schemas"
KINDS: dict[str, Kind] = {
    "interaction.v1": "interactions",
    "catalog.v1": "catalog",
    "profile.v1": "profiles",
    "texts.v1": "texts",
}
NAMES = [*KINDS, "recommendations.v1", "receipt.v1", "report.v1"]


def _load(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def _examples(verdict: str, names: list[str]) -> list:
    files = [
        file for name in names for file in sorted((SCHEMAS / "examples" / verdict / name).glob("*.json"))
    ]
    return [pytest.param(file, id=f"{file.parent.name}/{file.stem}") for file in files]


def _decode(file: Path):
    value, kind = file.read_bytes(), KINDS[file.parent.name]
    needed = b"0123456789abcdef" * 4 if kind == "texts" else b"an-id" if json.loads(value) is None else None
    return decode(kind, needed, value)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_schema(name):
    """Each file is valid 2020-12, says so, names itself, and has examples of both verdicts in its folders."""
    schema = _load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:streamer:schema:{name}"
    assert schema["title"]
    assert schema["description"]
    assert _examples("valid", [name])
    assert _examples("invalid", [name])


def test_every_schema_and_every_example_is_in_the_list():
    """A new schema, or a folder named wrongly, cannot hide from these tests."""
    assert sorted(file.name for file in SCHEMAS.glob("*.schema.json")) == sorted(
        f"{n}.schema.json" for n in NAMES
    )
    assert {file.parent.name for file in (SCHEMAS / "examples").glob("*/*/*")} == set(NAMES)


def test_definitions_of_the_same_name_are_the_same():
    """Every schema stands alone, so that an app can copy one file; what they share may not drift apart."""
    seen: dict[str, object] = {}
    for name in NAMES:
        for key, definition in _load(name).get("$defs", {}).items():
            assert seen.setdefault(key, definition) == definition, f"{key} in {name}"


@pytest.mark.parametrize("file", _examples("valid", NAMES))
def test_valid_examples_pass_the_schema(file):
    """A document in examples/valid/<schema> obeys it."""
    Draft202012Validator(_load(file.parent.name)).validate(json.loads(file.read_bytes()))


@pytest.mark.parametrize("file", _examples("invalid", NAMES))
def test_invalid_examples_fail_the_schema(file):
    """A document in examples/invalid/<schema> breaks it."""
    assert not Draft202012Validator(_load(file.parent.name)).is_valid(json.loads(file.read_bytes()))


@pytest.mark.parametrize("file", _examples("valid", list(KINDS)))
def test_valid_events_decode(file):
    """The worker learns from every valid example."""
    _decode(file)


@pytest.mark.parametrize("file", _examples("invalid", list(KINDS)))
def test_invalid_events_are_refused(file):
    """The worker refuses every invalid example, and names a field that the file's name speaks of."""
    with pytest.raises(InvalidEvent) as refusal:
        _decode(file)
    assert refusal.value.path.startswith("$")
    field = refusal.value.path.removeprefix("$").removeprefix(".").split("[")[0].split(".")[0]
    assert not field or field.split("_")[0][:5] in file.stem or field in {"categorical", "numerical"}, (
        refusal.value
    )


@pytest.mark.parametrize("file", _examples("valid", ["recommendations.v1"]))
def test_the_client_reads_valid_lists(file):
    """`streamer.client` reads every valid example of a list."""
    assert READER.decode(file.read_bytes()).model


def test_the_client_refuses_another_version():
    """A list of a version to come is not read as if it were this one."""
    file = SCHEMAS / "examples/invalid/recommendations.v1/version-unknown.json"
    with pytest.raises(msgspec.ValidationError):
        READER.decode(file.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_examples_inside_the_schema_are_valid(name):
    """`examples` keywords, at the top and in every definition, obey what they illustrate."""
    schema = _load(name)
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)
    for key, part in {**schema["properties"], **schema.get("$defs", {})}.items():
        validator = Draft202012Validator({**part, "$defs": schema.get("$defs", {})})
        for example in part.get("examples", []):
            assert validator.is_valid(example), f"{key}: {example}"
