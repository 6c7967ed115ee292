"""Valid JSON -> nearly valid JSON, and worse. What was new to the reader is broken further."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Place = tuple[Any, Any]  # a dict or a list, and the key or index in it

MAX_KEPT = 2_000  # inputs whose outcome was new
DEEP = 40

# At the edges of what is allowed, and beyond. A text that begins with RAW goes out without its quotes: no JSON library writes it.
RAW = "\x00raw:"
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -0.0,
        1,
        -1,
        0.5,
        2**31,
        -(2**31),
        2**53 + 1,
        2**63,
        -(2**64),
        1e38,
        -1e38,
        1e308,
        5e-324,
    ),
    *(
        7_258_118_399_999,
        7_258_118_400_000,
        1_291_191_960_000,
        1e12,
        "1970-01-01T00:00:00Z",
        "2199-12-31T23:59:59.999Z",
    ),
    *(
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2010-12-01T00:00:60Z",
        "2010-12-01 00:00:00",
        "yesterday",
    ),
    *(
        "",
        " ",
        "x",
        "u1",
        "i1",
        "view",
        "__streamer_anonymous__",
        "__",
        "%",
        "a=b",
        "a:b#c~d",
        "a\nb",
        "a\x00b",
        "\x1b[2J",
        "\x7f",
    ),
    *(
        "é",
        "\u202e",
        "\ud800",
        "\udc00\ud800",
        "😀" * 64,
        "a" * 64,
        "a" * 65,
        "a" * 128,
        "a" * 129,
        "a" * 256,
        "a" * 257,
    ),
    *("é" * 128, "é" * 129, "😀" * 65, "a" * 4096, "a" * 4097, "NaN", "null", "0", "1e5"),
    *([], [""], ["a"], ["a", "a"], [None], [["a"]], ["a"] * 64, ["a"] * 65, [f"v{n}" for n in range(64)]),
    *(
        {},
        {"": 1},
        {"a": 1},
        {"a": "b"},
        {"a": None},
        {"a": ["b"]},
        {"a": {"b": {}}},
        {"colour": ["red"], "size": []},
    ),
    *({f"f{n}": float(n) for n in range(64)}, {f"f{n}": ["v"] for n in range(65)}),
    *("zThmOg==", "VTlVNVW5", "AAAA", "AAB+", "/3v/ew==", "AHwAfA==", "AH4AfgB+", "VTlVNVW5VTlVNVW5"),
    *(
        f"{RAW}{text}"
        for text in (
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "-1e999",
            "01",
            "1.",
            "+1",
            ".5",
            "1e",
            "0x10",
            "-",
        )
    ),
    *(
        f"{RAW}{text}"
        for text in (
            "1" * 400,
            "0." + "0" * 400 + "1",
            "'a'",
            "[1,]",
            '{"a":1,}',
            '"\\ud800"',
            '"\\x"',
            '"\\u00"',
            "",
        )
    ),
    *(
        f"{RAW}{'[' * DEEP}{']' * DEEP}",
        f'{RAW}{{"a":' * 1 + f"{'[' * 5}1{']' * 5}}}",
        f"{RAW}{'[' * 20_000}",
    ),
)
TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\x00",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"-",
    b"9",
    b"e",
)


class Mutator:
    """Breaks documents, and keeps those whose outcome was new: they are broken further.

    Args:
        rng: Of everything.
        seeds: Valid documents, as bytes.
        names: Of fields that the reader knows; may be none.
    """

    def __init__(self, rng: random.Random, seeds: list[bytes], names: list[str]) -> None:
        self._rng = rng
        self._seeds = list(seeds)
        self._n_own = len(seeds)
        self._names = names
        self._outcomes: set[object] = set()

    def good(self) -> bytes:
        """One of those it was given."""
        return self._seeds[self._rng.randrange(self._n_own)]

    def seed(self) -> bytes:
        """One of those it was given, or one that was new once."""
        return self.good() if self._rng.random() < 0.5 else self._rng.choice(self._seeds)

    def learn(self, value: bytes, outcome: object) -> None:
        """Keep the document when no other had this outcome."""
        if outcome in self._outcomes or len(value) > 20_000:
            return
        self._outcomes.add(outcome)
        if len(self._seeds) < MAX_KEPT:
            self._seeds.append(value)
        else:
            self._seeds[self._rng.randrange(self._n_own, MAX_KEPT)] = value

    @property
    def n_outcomes(self) -> int:
        """Different ones so far."""
        return len(self._outcomes)

    def broken(self, value: bytes) -> bytes:
        """One to three changes of its structure, and now and then of its bytes."""
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return self.bytes_broken(value)
        for _ in range(self._rng.randint(1, 3)):
            document = self._changed(document)
        text = written(document)
        return self.bytes_broken(text) if self._rng.random() < 0.25 else text

    def bytes_broken(self, value: bytes) -> bytes:
        """One to four bytes, or slices, changed, lost, doubled or put in."""
        rng, found = self._rng, bytearray(value)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(found) + 1)
            match rng.randrange(6):
                case 0:
                    found[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del found[at : at + rng.randint(1, 16)]
                case 2:
                    found[at:at] = rng.choice(TOKENS)
                case 3:
                    found[at:at] = found[at : at + rng.randint(1, 64)]
                case 4 if rng.random() < 0.3:
                    del found[at:]
                case _:
                    other = rng.choice(self._seeds)
                    begin = rng.randrange(len(other) + 1)
                    found[at:at] = other[begin : begin + rng.randint(1, 64)]
        return bytes(found)

    def _changed(self, document: Any) -> Any:
        places = _places(document)
        if not places or self._rng.random() < 0.02:
            return self.value()
        holder, key = self._rng.choice(places)
        self._rng.choice((_put, _put, _put, _drop, _rename, _add, _wrap, _swap))(self, holder, key, places)
        return document

    def value(self) -> Any:
        """One from the edges; a copy, since it will be changed further."""
        return copy.deepcopy(self._rng.choice(VALUES))

    def name(self) -> str:
        """Of a field: one of ours, or not."""
        is_known = bool(self._names) and self._rng.random() < 0.8
        return self._rng.choice(self._names) if is_known else str(self.value())[:300]

    def one_of(self, places: list[Place]) -> Place:
        """Some place."""
        return self._rng.choice(places)


def _put(mutator: Mutator, holder: Any, key: Any, _places: list[Place]) -> None:
    holder[key] = mutator.value()


def _drop(_mutator: Mutator, holder: Any, key: Any, _places: list[Place]) -> None:
    del holder[key]


def _rename(mutator: Mutator, holder: Any, key: Any, _places: list[Place]) -> None:
    value = holder.pop(key)
    if isinstance(holder, dict):
        holder[mutator.name()] = value
    else:
        holder.append(value)


def _add(mutator: Mutator, holder: Any, key: Any, _places: list[Place]) -> None:
    if isinstance(holder, dict):
        holder[mutator.name()] = mutator.value()
    else:
        holder.insert(key, mutator.value())


def _wrap(_mutator: Mutator, holder: Any, key: Any, _places: list[Place]) -> None:
    holder[key] = [holder[key]] if isinstance(holder, dict) else {"a": holder[key]}


def _swap(mutator: Mutator, holder: Any, key: Any, places: list[Place]) -> None:
    other, other_key = mutator.one_of(places)
    # a copy: what holds itself has no end
    holder[key] = json.loads(json.dumps(other[other_key]))


Change = Callable[[Mutator, Any, Any, list[Place]], None]


def _places(document: Any) -> list[Place]:
    found: list[Place] = []
    left = [document]
    while left:
        holder = left.pop()
        inside = (
            list(holder.items())
            if isinstance(holder, dict)
            else list(enumerate(holder))
            if isinstance(holder, list)
            else ()
        )
        found += [(holder, key) for key, _ in inside]
        left += [value for _, value in inside]
    return found


def written(document: Any) -> bytes:
    """As bytes: raw texts without their quotes, half surrogate pairs as the bytes that no UTF-8 has."""
    text = json.dumps(document, ensure_ascii=False)
    while (begin := text.find('"\\u0000raw:')) >= 0:
        end = begin + 1
        while text[end] != '"' or (text[end - 1] == "\\" and text[end - 2] != "\\"):
            end += 1
        text = text[:begin] + json.loads(text[begin : end + 1]).removeprefix(RAW) + text[end + 1 :]
    return text.encode("utf-8", "surrogatepass")
