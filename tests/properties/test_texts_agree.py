"""As `test_events_agree`, for the topic `texts`: its contract on paper and `decode` take and refuse the same messages."""

import base64
import json
import math
import struct
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streamer import texts
from streamer.errors import InvalidEvent
from streamer.events import TextDropped, TextEmbedded, decode

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "texts.v1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
KEY = b"0123456789abcdef" * 4
BOUNDED = settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))


def on_paper(key: bytes | None, value: bytes) -> bool:
    """Whether the schema and the README's rules take the message."""
    try:
        document = json.loads(value.decode())
        json.dumps(document, ensure_ascii=False).encode()  # rule 1: no half pairs
    except ValueError:
        return False
    right_key = key is not None and len(key) == 64 and set(key) <= set(b"0123456789abcdef")  # rule 4
    if not (right_key and VALIDATOR.is_valid(document)):
        return False
    if document is None:  # rule 5
        return True
    numbers = base64.b64decode(document["vector"])
    norm = math.sqrt(sum(number * number for (number,) in struct.iter_unpack("<e", numbers)))
    return 0.9 <= norm <= 1.1  # rule 7; neither NaN nor infinity is


def in_code(key: bytes | None, value: bytes) -> bool:
    """Whether `decode` takes the message; anything but an event or `InvalidEvent` fails the test."""
    try:
        event = decode("texts", key, value)
    except InvalidEvent as refusal:
        _check_refusal(refusal)
        return False
    assert isinstance(event, TextEmbedded | TextDropped)
    assert event.key.encode() == key
    return True


def _check_refusal(refusal: InvalidEvent) -> None:
    assert refusal.reason in {"json", "schema", "size", "depth", "utf8", "key", "number"}
    assert refusal.path.startswith("$")
    assert str(refusal).isprintable()
    assert len(str(refusal)) < 250


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}e", *vector)).decode()


axes = st.builds(lambda n, at: [float(i == at % n) for i in range(n)], st.integers(1, 1030), st.integers(0))
odd_vectors = st.one_of(
    st.lists(st.floats(-1.25, 1.25, width=16), max_size=4).map(_base64),
    st.lists(st.floats(width=16), max_size=3).map(_base64),  # NaN, infinite, huge
    st.binary(max_size=12).map(lambda raw: base64.b64encode(raw).decode()),
    st.text("AQgw+/=-_ \nAEIM", max_size=12),
    st.sampled_from([None, 1, [0.6, 0.8], {}, "", "\ud800"]),
)
vectors = st.one_of(axes.map(_base64), odd_vectors)
models = st.one_of(
    st.just("a model"),
    st.text(max_size=5),
    st.sampled_from(["", "x" * 256, "x" * 257, "é" * 256, "a\n", "\x7f", None, 7, []]),
)
keys = st.one_of(
    st.just(KEY),
    st.sampled_from(
        [None, b"", KEY[1:], KEY + b"0", KEY.upper(), KEY[1:] + b"\n", KEY[1:] + b"g", b"\xff" * 64]
    ),
)
documents = st.one_of(
    st.fixed_dictionaries({"model": st.just("a model"), "vector": axes.map(_base64)}),
    st.fixed_dictionaries({"model": models, "vector": vectors}),
    st.fixed_dictionaries({}, optional={"model": models, "vector": vectors, "made_at": st.integers()}),
    st.sampled_from([None, [], "a", 1]),
)


def test_schema_and_code_agree_on_texts() -> None:
    """The same documents pass on paper and in code, and there are plenty of both verdicts."""
    seen: Counter[bool] = Counter()

    @BOUNDED
    @given(keys, documents)
    def agree(key: bytes | None, document: object) -> None:
        value = json.dumps(document).encode()
        expected = on_paper(key, value)
        seen[expected] += 1
        assert in_code(key, value) == expected, value[:200]

    agree()
    assert seen[True] > 50, seen
    assert seen[False] > 50, seen


@BOUNDED
@given(
    st.integers(1, 1024), st.integers(0), st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
)
def test_what_a_worker_writes_every_worker_reads(dim: int, at: int, model: str) -> None:
    """A vector of any allowed length comes back from its message bit by bit."""
    vector = struct.pack(f"<{dim}e", *(float(i == at % dim) for i in range(dim)))
    event = TextEmbedded(KEY.decode(), model[:256], vector)
    assert decode("texts", KEY, texts.encode(event)) == event
