"""The contract on paper (`schemas/` and the rules of its README) and the one in code (`decode`) are the same.

`on_paper` below is a second, slow implementation: the standard library's JSON, a validator for the schemas,
and the numbered rules. Documents are made valid, then bent in the places where contracts usually leak.
"""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streamer.errors import InvalidEvent
from streamer.events import CatalogItem, Interaction, ItemRetired, Kind, Profile, UserErased, decode

SCHEMAS = Path(__file__).parents[2] / "schemas"
FILES: dict[Kind, str] = {"interactions": "interaction.v1", "catalog": "catalog.v1", "profiles": "profile.v1"}
OWNER: dict[Kind, str] = {"interactions": "user_id", "catalog": "item_id", "profiles": "user_id"}
EVENTS = {"interactions": Interaction, "catalog": CatalogItem, "profiles": Profile}
TOMBSTONES = {"catalog": ItemRetired, "profiles": UserErased}
SCHEMA = {kind: json.loads((SCHEMAS / f"{name}.schema.json").read_text()) for kind, name in FILES.items()}
VALIDATORS = {kind: Draft202012Validator(schema) for kind, schema in SCHEMA.items()}
BOUNDED = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))


def on_paper(kind: Kind, key: bytes | None, value: bytes) -> bool:
    """Whether the schema and the README's rules take the message."""
    try:
        document = json.loads(value.decode(), parse_constant=_refuse_constant)
    except ValueError:  # rule 1: UTF-8 and JSON
        return False
    if len(value) > 262_144 or _depth(document) > 32 or _has_half_pair(document):  # rule 1
        return False
    if not VALIDATORS[kind].is_valid(document):
        return False
    if document is None:  # rule 5; `null` passes the schemas of catalog and profiles alone
        return key is not None and _is_id(SCHEMA[kind]["properties"][OWNER[kind]], SCHEMA[kind], key)
    names = {"user_id", "item_id", "event_id"} & SCHEMA[kind]["properties"].keys() & document.keys()
    return (
        all(len(document[name].encode()) <= 256 for name in names)  # rule 2
        and _is_instant(document["timestamp"])  # rule 3
        and (key is None or key == document[OWNER[kind]].encode())  # rule 4
    )


def _refuse_constant(name: str):
    raise ValueError(name)


def _depth(node) -> int:
    if isinstance(node, dict):
        node = list(node.values())
    return 1 + max(map(_depth, node), default=0) if isinstance(node, list) else 0


def _has_half_pair(node) -> bool:
    if isinstance(node, str):
        return any("\ud800" <= character <= "\udfff" for character in node)
    if isinstance(node, dict):
        return any(map(_has_half_pair, node)) or any(map(_has_half_pair, node.values()))
    return isinstance(node, list) and any(map(_has_half_pair, node))


def _is_id(part: dict, schema: dict, key: bytes) -> bool:
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return False
    return len(key) <= 256 and Draft202012Validator({**part, "$defs": schema["$defs"]}).is_valid(text)


def _is_instant(timestamp) -> bool:
    if not isinstance(timestamp, str):
        return type(timestamp) is int
    instant = datetime.fromisoformat(timestamp.upper())
    return datetime(1970, 1, 1, tzinfo=UTC) <= instant < datetime(2200, 1, 1, tzinfo=UTC)


def in_code(kind: Kind, key: bytes | None, value: bytes) -> bool:
    """Whether `decode` takes the message; anything but an event or `InvalidEvent` fails the test."""
    try:
        event = decode(kind, key, value)
    except InvalidEvent as refusal:
        _check_refusal(refusal)
        return False
    if isinstance(event, ItemRetired | UserErased):
        assert type(event) is TOMBSTONES[kind]
    else:
        assert type(event) is EVENTS[kind]
        assert type(event.timestamp_ms) is int
        assert 0 <= event.timestamp_ms < 7_258_118_400_000
    return True


def _check_refusal(refusal: InvalidEvent) -> None:
    """A refusal can be logged and sent in headers as it is: short, printable, with a constant reason."""
    assert refusal.reason in {"json", "schema", "size", "depth", "utf8", "key", "number"}
    assert refusal.path.startswith("$")
    assert len(str(refusal)) < 250
    assert str(refusal).isprintable()
    assert str(refusal).isascii()


# --- documents that are right

text_of = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
ids = st.one_of(
    text_of.filter(lambda text: not text.startswith("__streamer")), st.sampled_from(["x" * 256, "é" * 128])
)
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
categorical = st.dictionaries(text_of, st.lists(text_of, max_size=3), max_size=3)
numerical = st.dictionaries(text_of, numbers, max_size=3)
offsets = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-1145", "+23:59"])
timestamps = st.one_of(
    st.integers(0, 7_258_118_399_999),
    st.builds(
        lambda when, offset, separator: when.isoformat(separator) + offset,
        st.datetimes(datetime(1970, 1, 3), datetime(2199, 12, 29)),
        offsets,
        st.sampled_from("Tt "),
    ),
)
DOCUMENTS = {
    "interactions": st.fixed_dictionaries(
        {"user_id": ids, "item_id": ids, "type": text_of, "timestamp": timestamps},
        optional={
            "event_id": st.one_of(ids, st.just("")),
            "value": st.one_of(numbers, st.none()),
            "context": st.dictionaries(text_of, st.one_of(text_of, numbers), max_size=3),
        },
    ),
    "catalog": st.fixed_dictionaries(
        {"item_id": ids, "timestamp": timestamps},
        optional={
            "title": st.text(max_size=9),
            "text": st.text(max_size=9),
            "available": st.booleans(),
            "categorical": categorical,
            "numerical": numerical,
        },
    ),
    "profiles": st.fixed_dictionaries(
        {"user_id": ids, "timestamp": timestamps},
        optional={"categorical": categorical, "numerical": numerical},
    ),
}

# --- and ways to bend them


def _nested(depth: int):
    node: object = 1
    for level in range(depth):
        node = [node] if level % 2 else {"a": node}
    return node


LENGTHS = [0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 4096, 4097, 65_536, 65_537]
ODD_TEXTS = [
    *(unit * length for length in LENGTHS for unit in ("x", "é", "😀")),
    *(" ", "a\n", "\n", "\x00", "\x1f", "a\x7f", "\x80", "\x85", "\x9f", "\xa0", "\u2028"),
    *("\ud800", "a\udfffb", "\ude00\ud83d", "17", "null"),
    *("__streamer", "__streamer_x", "__streame", "x__streamer", "__Streamer"),
]
# Written without the quotes: what json.dumps would never write.
RAW = [
    *("1e999", "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", "1.0", "1e3", "-0", "01", "1.", "9" * 400),
    *("tru", "+1", "'a'", "1291191960000.0", "1.29119196e12"),
]
ODD_NUMBERS = [
    *(-1, 0, 1, 7_258_118_399_999, 7_258_118_400_000, 2**63, 2**64, 10**308, 10**309, 1.5, -0.0, 1e308),
    *(f"@raw {token}@" for token in RAW),
]
ODD_TIMES = [
    "2024-01-01T00:00:00+0530",
    "2024-01-01T00:00:00-11:45",
    "2024-02-29T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z",
    "2024-04-31T00:00:00Z",
    "2024-00-01T00:00:00Z",
    "2024-13-01T00:00:00Z",
    "2024-01-00T00:00:00Z",
    "2024-01-32T00:00:00Z",
    "2024-01-01T24:00:00Z",
    "2024-01-01T23:59:60Z",
    "2024-01-01T23:60:00Z",
    "2024-01-01T00:00:00",
    "2024-01-01T00:00Z",
    "2024-01-01",
    "2024-01-01T00:00:00.Z",
    "2024-01-01T00:00:00.123456789Z",
    "2024-01-01T00:00:00,5Z",
    "2024-01-01T00:00:00+24:00",
    "2024-01-01T00:00:00+05",
    "2024-01-01T00:00:00+00:60",
    "1969-12-31T23:59:59Z",
    "1969-12-31T23:59:59-01:00",
    "1970-01-01T00:00:00+00:01",
    "2199-12-31T23:59:59.999Z",
    "2199-12-31T23:59:59-00:01",
    "2200-01-01T00:00:00Z",
    "2200-01-01T00:00:00+01:00",
    "1968-12-31T23:59:59-23:59",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2024-1-1T00:00:00Z",
    "20240101T000000Z",
    "2024-W01-1T00:00:00Z",
    "1291191960000",
    "2024-01-01_00:00:00Z",
    "\uff12\uff10\uff12\uff14-01-01T00:00:00Z",  # digits, but not ASCII
    "2024-01-01T00:00:00Z\n",
    " 2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00 Z",
]
ODD_SHAPES = [
    *(None, True, False, [], {}, [[]], {"a": {}}, {"a": []}, {"a": [""]}, {"a": ["b", 1]}, {"a": None}),
    *({f"f{i}": 1 for i in range(n)} for n in (63, 64, 65)),
    *({f"f{i}": ["v"] for i in range(n)} for n in (63, 64, 65)),
    *({"f": ["v"] * n} for n in (63, 64, 65)),
    *({name: value} for name in ODD_TEXTS for value in (1, "v", ["v"])),
    *({"f": text} for text in ODD_TEXTS),
    *({"f": [text]} for text in ODD_TEXTS),
    *({"f": number} for number in ODD_NUMBERS),
    *map(_nested, (1, 2, 3, 4, 30, 31, 32, 33, 34, 40)),
]
ODD = [*ODD_TEXTS, *ODD_NUMBERS, *ODD_TIMES, *ODD_SHAPES]
odd = st.one_of(*map(st.sampled_from, (ODD_TEXTS, ODD_NUMBERS, ODD_TIMES, ODD_SHAPES)), st.floats(0, 1e13))
RIGHT = {
    "interactions": {"user_id": "u", "item_id": "i", "type": "t", "timestamp": 1},
    "catalog": {"item_id": "i", "timestamp": 1},
    "profiles": {"user_id": "u", "timestamp": 1},
}


def _written(document, escape: bool) -> bytes:
    text = json.dumps(document, ensure_ascii=escape)
    for token in RAW:
        text = text.replace(f'"@raw {token}@"', token)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def messages(draw, kind: Kind) -> tuple[bytes | None, bytes]:
    """Key and value: mostly a document with up to two fields bent, as bytes."""
    document = draw(DOCUMENTS[kind])
    owner = document[OWNER[kind]]
    fields = [*SCHEMA[kind]["properties"], "timestamp", "unknown"]
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        field = draw(st.sampled_from(fields))
        if draw(st.integers(0, 7)) == 0:
            document.pop(field, None)
        else:
            document[field] = draw(odd)
    if draw(st.integers(0, 30)) == 0:
        document = draw(st.sampled_from(ODD))
    now_owner = document.get(OWNER[kind], owner) if isinstance(document, dict) else owner
    named = now_owner.encode("utf-8", "surrogatepass") if isinstance(now_owner, str) else b"an-id"
    odd_keys = st.sampled_from([b"", b"other", b"\xff", named + b" ", b"__streamer", b"a\x00", b"x" * 257])
    key = draw(st.one_of(st.none(), st.just(named), st.just(named), st.just(named), odd_keys))
    return key, _written(document, draw(st.booleans()))


@pytest.mark.parametrize("kind", FILES)
def test_schema_and_code_agree_on_every_odd_value_of_every_field(kind):
    """Each known trap, one at a time, in each field and in place of the whole document."""
    for value in ODD:
        bent = [{**RIGHT[kind], field: value} for field in (*SCHEMA[kind]["properties"], "unknown")]
        for document in (*bent, value):
            for written in {_written(document, escape=True), _written(document, escape=False)}:
                assert in_code(kind, None, written) == on_paper(kind, None, written), written[:200]


def test_schema_and_code_have_the_same_calendar():
    """Each end of February of the range and beyond, each day of a year, each hour, minute and offset."""
    days = [(year, 2, day) for year in range(1965, 2205) for day in (28, 29, 30)]
    days += [(2023, month, day) for month in range(14) for day in range(33)]
    written = ["{:04}-{:02}-{:02}T12:00:00Z".format(*day) for day in days]
    for two in range(100):
        written += [
            f"2024-01-01T{two:02}:00:00Z",
            f"2024-01-01T00:{two:02}:00Z",
            f"2024-01-01T00:00:{two:02}Z",
        ]
        written += [f"2024-01-01T00:00:00{sign}{two:02}:00" for sign in "+-"]
        written += [f"2024-01-01T00:00:00{sign}01:{two:02}" for sign in "+-"]
    for timestamp in written:
        value = _written({**RIGHT["profiles"], "timestamp": timestamp}, escape=True)
        assert in_code("profiles", None, value) == on_paper("profiles", None, value), timestamp


@pytest.mark.parametrize("kind", FILES)
def test_schema_and_code_agree_on_documents(kind):
    """The same documents pass on paper and in code, and the generator makes plenty of both verdicts."""
    seen: Counter[bool] = Counter()

    @BOUNDED
    @given(messages(kind))
    def agree(message):
        key, value = message
        expected = on_paper(kind, key, value)
        seen[expected] += 1
        assert in_code(kind, key, value) == expected, value[:200]

    agree()
    assert seen[True] > 50, seen
    assert seen[False] > 50, seen


@pytest.mark.parametrize("kind", FILES)
def test_schema_and_code_agree_on_broken_bytes(kind):
    """Valid messages with bytes put in or taken out are judged alike, and never crash the decoder."""
    seen: Counter[bool] = Counter()
    pieces = st.one_of(
        st.binary(max_size=4),
        st.sampled_from(["{", "]", '"', "\\", ",", " ", "\ufeff", "\\ud800"]).map(str.encode),
    )

    @BOUNDED
    @given(DOCUMENTS[kind], st.booleans(), st.integers(0, 400), st.integers(0, 3), pieces)
    def agree(document, escape, at, n_out, piece):
        whole = _written(document, escape)
        value = whole[:at] + piece + whole[at + n_out :]
        expected = on_paper(kind, None, value)
        seen[expected] += 1
        assert in_code(kind, None, value) == expected, value

    agree()
    assert seen[False] > 50, seen
