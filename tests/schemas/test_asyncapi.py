"""`schemas/asyncapi.yaml` describes the topics that the worker reads and writes, by the schemas beside it."""

import json
import re
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from streamer.cli.dlq import _WORDS
from streamer.errors import InvalidEvent
from streamer.letters import Lineage, Place, letter_headers, letter_of, note_headers
from streamer.ports import Record

SCHEMAS = Path(__file__).parents[2] / "schemas"
PACKAGE = SCHEMAS.parent / "streamer"
DOCUMENT = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())


def _references(node) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for child in node.values() for ref in _references(child)]
    return [ref for child in node for ref in _references(child)] if isinstance(node, list) else []


def _resolve(reference: str):
    """What a reference points to; KeyError or FileNotFoundError where it points to nothing."""
    file, _, pointer = reference.partition("#")
    node = json.loads((SCHEMAS / file).read_text()) if file else DOCUMENT
    for part in pointer.strip("/").split("/") if pointer else []:
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_every_reference_resolves():
    """Each $ref points to something in this document or in a schema file."""
    references = _references(DOCUMENT)
    assert len(references) > 10
    for reference in references:
        assert _resolve(reference), reference


def test_every_topic_is_there():
    """The topics of the design, by their default names, and which of them are compacted."""
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert set(channels) == {
        *("interactions", "catalog", "profiles", "texts", "recommendations", "dead-letters")
    }
    compacted = {
        name for name, channel in channels.items() if "topicConfiguration" in channel["bindings"]["kafka"]
    }
    assert compacted == {"catalog", "profiles", "texts", "recommendations"}
    assert DOCUMENT["asyncapi"] == "3.0.0"


def test_every_event_schema_is_used():
    """No schema of a message is left out; the report is a file, and a receipt lies in Redis alone."""
    files = {reference.partition("#")[0] for reference in _references(DOCUMENT)} - {""}
    messages = {f"./{file.name}" for file in SCHEMAS.glob("*.schema.json")} - {
        *("./report.v1.schema.json", "./receipt.v1.schema.json")
    }
    assert files == messages


def test_every_operation_has_a_channel_and_every_channel_an_operation():
    """Whoever reads the document finds out, for each topic, whether the worker reads or writes it."""
    actions = {
        (op["channel"]["$ref"].rpartition("/")[2], op["action"]) for op in DOCUMENT["operations"].values()
    }
    assert actions == {
        ("interactions", "receive"),
        ("catalog", "receive"),
        ("profiles", "receive"),
        ("texts", "receive"),
        ("texts", "send"),
        ("recommendations", "send"),
        ("deadLetters", "send"),
    }


def test_reasons_are_those_that_there_are():
    """Whoever sorts letters by reason finds every reason that a message is refused for, and no other."""
    code = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    given = set(re.findall(r'InvalidEvent\(\s*"(\w+)"', code))
    headers = DOCUMENT["components"]["schemas"]["deadLetterHeaders"]
    assert given == set(headers["properties"]["reason"]["enum"]) == set(_WORDS)


def test_whoever_reads_lists_is_told_that_one_may_go():
    """On every compacted topic a null value is a message of its own."""
    for channel in DOCUMENT["channels"].values():
        if "topicConfiguration" in channel["bindings"]["kafka"]:
            payloads = [_resolve(message["$ref"])["payload"] for message in channel["messages"].values()]
            assert {"type": "null"} in payloads, channel["address"]


def test_dead_letter_headers():
    """A dead letter says where it came from, why it is there, which field is to blame, and its lineage, in these words."""
    headers = DOCUMENT["components"]["schemas"]["deadLetterHeaders"]
    assert set(headers["required"]) == {"topic", "partition", "offset", "reason", "path"}
    record = Record("t", 0, 7, 0, b"k", b"v", tuple(Lineage(Place(0, 1), 2).headers().items()))
    written = letter_headers(record, InvalidEvent("schema", "$.x", "expected a number"))
    assert set(headers["properties"]) == {*written, "cut_to_bytes"}
    letter = letter_of(record._replace(headers=tuple(written.items())))
    assert letter is not None
    noted = note_headers(letter, 3)
    note = DOCUMENT["components"]["schemas"]["replayNoteHeaders"]
    assert set(noted) == set(note["properties"])
    for name, value in {**written, **noted}.items():
        schema = note["properties"].get(name) or headers["properties"][name]
        schema = _resolve(schema["$ref"]) if "$ref" in schema else schema
        Draft202012Validator(schema).validate(value.decode())
