"""What is embedded of an item, under which key, and the message of its vector."""

import hashlib
import struct

import pytest

from streamer.errors import InvalidEvent
from streamer.events import CatalogItem, TextDropped, TextEmbedded, decode, vector_problem
from streamer.texts import MAX_CONTENT_CHARS, TextRows, content_key, content_of, encode

KEY = "0123456789abcdef" * 4


def floats(*numbers: float) -> bytes:
    """As float16, little endian."""
    return struct.pack(f"<{len(numbers)}e", *numbers)


@pytest.mark.parametrize(
    ("title", "text", "content"),
    [
        ("", "", ""),
        (" \n", "\t", ""),
        ("Red lamp", "", "Red lamp"),
        ("", "It glows.", "It glows."),
        (" Red lamp ", "It glows.\n", "Red lamp\nIt glows."),
        ("t" * 1000, "x" * 1000, "t" * 1000 + "\n" + "x" * 23),
        ("t" * 1022 + "  u", "", "t" * 1022),
    ],
)
def test_content_is_title_then_text(title: str, text: str, content: str) -> None:
    """Joined by a line end, without white space around, cut at 1024 characters; nothing where there is neither."""
    found = content_of(CatalogItem(item_id="i", title=title, text=text, timestamp_ms=1))
    assert found == content
    assert len(found) <= MAX_CONTENT_CHARS


def test_a_key_is_the_hash_of_model_and_text() -> None:
    """SHA-256 over name, zero byte, text; the name ends where it ends."""
    assert content_key("m", "é") == hashlib.sha256(b"m\x00\xc3\xa9").hexdigest()
    assert (
        len({content_key("m", "x"), content_key("n", "x"), content_key("m", "y"), content_key("mx", "")}) == 4
    )


def test_a_vector_survives_its_message() -> None:
    """What `encode` writes `decode` reads, bit by bit; 0.6 and 0.8 become the nearest float16."""
    event = TextEmbedded(KEY, "a model", floats(0.6, 0.8))
    assert encode(event) == b'{"model":"a model","vector":"zThmOg=="}'
    assert decode("texts", KEY.encode(), encode(event)) == event


@pytest.mark.parametrize("value", [None, b"null"])
def test_a_null_value_names_the_text(value: bytes | None) -> None:
    """A tombstone is an event of its own."""
    assert decode("texts", KEY.encode(), value) == TextDropped(KEY)


@pytest.mark.parametrize("key", [None, b"", b"i1", KEY.upper().encode(), KEY.encode() + b"\n", b"\xff" * 64])
@pytest.mark.parametrize("value", [None, b'{"model":"m","vector":"zThmOg=="}'])
def test_the_key_is_a_hash(key: bytes | None, value: bytes | None) -> None:
    """Anything else is refused, for its key."""
    with pytest.raises(InvalidEvent) as refusal:
        decode("texts", key, value)
    assert refusal.value.reason == "key"


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (b"", "0 bytes"),
        (b"\x00\x3c\x00", "3 bytes"),
        (floats(*[1.0] * 1025), "2050 bytes"),
        (floats(0.0, 0.0), "norm 0"),
        (floats(0.89), "norm 0.89"),
        (floats(1.11), "norm 1.11"),
        (floats(float("nan"), 1.0), "NaN"),
        (floats(float("inf"), 1.0), "infinite"),
        (floats(0.6, -0.8), None),
        (floats(0.91), None),
        (floats(1.09), None),
    ],
)
def test_what_is_a_vector(vector: bytes, words: str | None) -> None:
    """1 to 1024 finite float16 of norm about 1; else the reason in words."""
    problem = vector_problem(vector)
    assert problem is None if words is None else words in str(problem)


def test_a_vector_that_is_none_is_refused() -> None:
    """The field is named; the payload is not repeated."""
    with pytest.raises(InvalidEvent) as refusal:
        decode("texts", KEY.encode(), encode(TextEmbedded(KEY, "m", floats(3.0, 4.0))))
    assert (refusal.value.reason, refusal.value.path) == ("number", "$.vector")
    assert refusal.value.detail == "expected a vector, got one of norm 5, not 0.9 to 1.1"


def test_vectors_that_wait_for_an_item_are_bounded() -> None:
    """Two have room: the third takes the place of the oldest, and one that comes again takes nobody's."""
    texts = TextRows(2)
    for key in ("a", "b", "b", "c"):
        assert texts.arrive(key, b"v") == []
    assert list(texts.early_keys()) == ["b", "c"]
    assert texts.describe(0, "c") == (b"v", -1)
