"""`streamer.events`: what a message becomes, and what is said about one that can never be used."""

import json
import subprocess
import sys

import msgspec
import pytest

from streamer.errors import InvalidEvent
from streamer.events import (
    ANONYMOUS,
    MAX_ID_BYTES,
    CatalogItem,
    Interaction,
    ItemRetired,
    Profile,
    UserErased,
    decode,
    is_null,
    profile_node,
    segment_list_id,
    user_id_problem,
)

VIEW = {"user_id": "u", "item_id": "i", "type": "view", "timestamp": 1_291_191_960_000}
ITEM = {"item_id": "i", "timestamp": 5}
PROFILE = {"user_id": "u", "timestamp": 5}


def _bytes(document: dict, **changes) -> bytes:
    return json.dumps({**document, **changes}).encode()


def _view(raw: str) -> bytes:
    """A view with more JSON text behind its last field."""
    return _bytes(VIEW)[:-1] + raw.encode() + b"}"


def _refused(value: bytes | None, kind="interactions", key: bytes | None = None) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as refusal:
        decode(kind, key, value)
    return refusal.value


def _verdict(value: bytes | None, kind="interactions", key: bytes | None = None) -> tuple[str, str]:
    refusal = _refused(value, kind, key)
    return refusal.reason, refusal.path


# --- what is taken


def test_every_field_of_an_interaction_arrives():
    """Every field arrives under its own name; whole numbers among numerical fields become floats."""
    value = _bytes(VIEW, event_id="e", value=6, context={"country": "UK", "price": 2})
    event = decode("interactions", b"u", value)
    assert event == Interaction(
        "u", "i", "view", 1_291_191_960_000, 6.0, {"country": "UK", "price": 2.0}, "e"
    )
    assert type(event.context["price"]) is float


def test_what_an_interaction_leaves_out_is_neutral():
    """What may be left out has a neutral value."""
    event = decode("interactions", None, _bytes(VIEW))
    assert (event.value, event.context, event.event_id) == (None, {}, "")


def test_every_field_of_a_catalog_item_arrives():
    """Every field arrives under its own name."""
    fields = {
        "title": "t",
        "text": "x",
        "categorical": {"c": ["a", "b"]},
        "numerical": {"n": 1},
        "available": False,
    }
    expected = CatalogItem(item_id="i", timestamp_ms=5, **{**fields, "numerical": {"n": 1.0}})
    assert decode("catalog", b"i", _bytes(ITEM, **fields)) == expected


def test_an_item_is_available_unless_it_says_otherwise():
    """An item is available unless it says otherwise, and has no fields."""
    event = decode("catalog", None, _bytes(ITEM))
    assert event == CatalogItem(
        item_id="i", timestamp_ms=5, title="", text="", categorical={}, numerical={}, available=True
    )


def test_every_field_of_a_profile_arrives_or_is_empty():
    """Every field arrives under its own name, or is empty."""
    whole = decode("profiles", b"u", _bytes(PROFILE, categorical={"c": ["a"]}, numerical={"n": 1.5}))
    assert whole == Profile(user_id="u", timestamp_ms=5, categorical={"c": ["a"]}, numerical={"n": 1.5})
    assert decode("profiles", None, _bytes(PROFILE)).categorical == {}


def test_events_are_frozen_and_share_nothing():
    """No event can be changed, nor can one change the defaults of the next."""
    first = decode("interactions", None, _bytes(VIEW))
    with pytest.raises(AttributeError):
        first.user_id = "v"
    first.context["k"] = 1.0
    assert decode("interactions", None, _bytes(VIEW)).context == {}


def test_an_event_can_be_written_again():
    """Encoding an event gives a message that decodes to the same event."""
    for kind, document in (("interactions", VIEW), ("catalog", ITEM), ("profiles", PROFILE)):
        event = decode(kind, None, _bytes(document))
        assert decode(kind, None, msgspec.json.encode(event)) == event


@pytest.mark.parametrize(
    ("written", "timestamp_ms"),
    [
        (0, 0),
        (7_258_118_399_999, 7_258_118_399_999),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-02t00:00:00z", 86_400_000),
        ("1970-01-02 00:00:00+0000", 86_400_000),
        ("1970-01-01T00:00:00.123999Z", 123),  # the millisecond it lies in
        ("2000-02-29T00:00:00Z", 951_782_400_000),  # date -u -d 2000-02-29 +%s
        ("2199-12-31T23:59:59.999Z", 7_258_118_399_999),
    ],
)
def test_epoch_milliseconds_and_rfc_3339_mean_the_same(written, timestamp_ms):
    """Epoch milliseconds and RFC 3339 mean the same; what is handed out is a plain int."""
    event = decode("interactions", None, _bytes(VIEW, timestamp=written))
    assert event.timestamp_ms == timestamp_ms
    assert type(event.timestamp_ms) is int


def test_fields_nobody_named_are_ignored():
    """The contract can grow: old workers read new messages."""
    assert decode("interactions", None, _view(', "shop": {"till": [1, null]}, "v": 2')) == decode(
        "interactions", None, _bytes(VIEW)
    )


@pytest.mark.parametrize(
    "text", ["a b", "é" * 128, "商品", "😀" * 64, "\u00a0", "\u2028", "__streame", "x__streamer"]
)
def test_an_id_is_any_text_without_control_characters(text):
    """An id is any text of up to 256 bytes without control characters."""
    assert decode("interactions", text.encode(), _bytes(VIEW, user_id=text)).user_id == text


def test_reserved_ids_are_reserved_for_users_alone():
    """Items live under keys of their own."""
    assert decode("catalog", None, _bytes(ITEM, item_id="__streamer_x")).item_id == "__streamer_x"


def test_the_last_of_a_name_used_twice_counts():
    """As most JSON readers have it, the second one wins; but a wrong first one is refused."""
    assert decode("interactions", None, _view(', "user_id": "v"')).user_id == "v"
    assert _verdict(b'{"user_id": 3, ' + _bytes(VIEW)[1:]) == ("schema", "$.user_id")


# --- tombstones


@pytest.mark.parametrize("value", [None, b"null", b" null\n"])
def test_a_null_value_retires_or_erases_whom_the_key_names(value):
    """A null value, or null as JSON, retires the item or erases the user that the key names."""
    assert decode("catalog", "é".encode(), value) == ItemRetired("é")
    assert decode("profiles", b"u", value) == UserErased("u")


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"null",
        b"\t null\r\n",
        b" " * 1_000 + b"null",
        b"",
        b" ",
        b"nul",
        b"\x0bnull",
        b"Null",
        b"null,",
        b"{}",
    ],
)
def test_a_value_is_null_where_decoding_finds_a_tombstone(value):
    """Receipts and replays ask without decoding, and are told what `decode` makes of it: however much white space there is."""
    try:
        is_tombstone = isinstance(decode("profiles", b"ann", value), UserErased)
    except InvalidEvent:
        is_tombstone = False
    assert is_null(value) == is_tombstone


@pytest.mark.parametrize("value", [None, b"null"])
def test_null_values_mean_nothing_on_interactions(value):
    """What happened cannot be taken back by key."""
    assert _verdict(value, key=b"u") == ("schema", "$")


@pytest.mark.parametrize("value", [None, b"null"])
@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a\n", b"x" * 257, b"\xed\xa0\x80", b"a\xc2\x85"])
def test_null_values_need_an_id_as_key(value, key):
    """Without a valid key nobody knows who is meant."""
    assert _verdict(value, "catalog", key) == ("key", "$.item_id")
    assert _verdict(value, "profiles", key) == ("key", "$.user_id")


def test_null_values_of_reserved_users_are_refused():
    """The list for users nobody knows cannot be erased by a message."""
    assert _verdict(None, "profiles", b"__streamer_anonymous__") == ("key", "$.user_id")
    assert decode("catalog", b"__streamer_x", None) == ItemRetired("__streamer_x")


# --- keys


def test_the_key_is_the_id():
    """A message under another key may lie in another partition and so lose its order; no key is no harm."""
    for key in (b"v", b"", b"u ", b"\xff"):
        assert _verdict(_bytes(VIEW), key=key) == ("key", "$.user_id")
        assert _verdict(_bytes(PROFILE), "profiles", key) == ("key", "$.user_id")
        assert _verdict(_bytes(ITEM), "catalog", key) == ("key", "$.item_id")


# --- what is refused, field by field


@pytest.mark.parametrize("field", VIEW)
def test_a_missing_field_is_named(field):
    """The missing field is named."""
    refusal = _refused(_bytes({name: value for name, value in VIEW.items() if name != field}))
    assert (refusal.reason, refusal.path) == ("schema", f"$.{field}")
    assert "missing" in refusal.detail


def test_numbers_are_no_ids():
    """A frequent mistake gets a clear sentence."""
    assert str(_refused(_bytes(VIEW, user_id=17))) == "$.user_id: expected `str`, got `int`"


@pytest.mark.parametrize(
    "text", ["", "a\n", "a\x00", "\x1f", "\x7f", "\x80", "\x9f", "x" * 257, "é" * 129, "😀" * 65]
)
def test_ids_that_are_empty_too_long_or_have_control_characters_are_refused(text):
    """Empty ids, control characters, and more than 256 bytes, whatever the number of characters."""
    assert _verdict(_bytes(VIEW, user_id=text)) == ("schema", "$.user_id")
    assert _verdict(_bytes(VIEW, item_id=text)) == ("schema", "$.item_id")
    assert _verdict(_bytes(ITEM, item_id=text), "catalog") == ("schema", "$.item_id")
    assert _verdict(_bytes(PROFILE, user_id=text), "profiles") == ("schema", "$.user_id")
    if text:
        assert _verdict(_bytes(VIEW, event_id=text)) == ("schema", "$.event_id")


@pytest.mark.parametrize("text", ["__streamer", "__streamer_anonymous__"])
def test_no_event_is_of_a_reserved_user(text):
    """No event can write the lists that are for users nobody knows."""
    assert _verdict(_bytes(VIEW, user_id=text)) == ("schema", "$.user_id")
    assert _verdict(_bytes(PROFILE, user_id=text), "profiles") == ("schema", "$.user_id")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\tb", 3, None])
def test_a_type_that_is_no_short_word_is_refused(name):
    """A type is a word of up to 64 characters."""
    assert _verdict(_bytes(VIEW, type=name)) == ("schema", "$.type")


@pytest.mark.parametrize(
    "written",
    [
        *(-1, 7_258_118_400_000, 2**70, 1.0, 1e12, 1.5, True, False, None, [], {}, ""),
        *("yesterday", "1291191960000", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00Z"),
        *(
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00Z\n",
        ),
        *(
            "1970-01-01T00:00:00+00:01",
            "2199-12-31T23:59:59-00:01",
            "2200-01-01T00:00:00Z",
            "0001-01-01T00:00:00+05:00",
        ),
    ],
)
def test_a_timestamp_that_is_no_instant_of_our_time_is_refused(written):
    """Fractions, booleans, text that is no instant, and instants before 1970 or after 2199."""
    for kind, document in (("interactions", VIEW), ("catalog", ITEM), ("profiles", PROFILE)):
        assert _verdict(_bytes(document, timestamp=written), kind) == ("schema", "$.timestamp")


def test_a_bad_timestamp_is_shown():
    """One look at the dead letter tells what the producer writes."""
    detail = _refused(_bytes(VIEW, timestamp="yesterday")).detail
    assert detail.startswith("expected RFC 3339")
    assert detail.endswith('got "yesterday"')


@pytest.mark.parametrize(
    ("kind", "document", "changes", "path"),
    [
        ("interactions", VIEW, {"value": "6"}, "$.value"),
        ("interactions", VIEW, {"value": True}, "$.value"),
        ("interactions", VIEW, {"event_id": None}, "$.event_id"),
        ("interactions", VIEW, {"context": {"a": {}}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"a": []}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"a": None}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"a": True}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"a": ""}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"a": "x" * 257}}, "$.context.a"),
        ("interactions", VIEW, {"context": {"": 1}}, "$.context"),
        ("interactions", VIEW, {"context": {"x" * 129: 1}}, "$.context"),
        ("interactions", VIEW, {"context": {str(i): i for i in range(65)}}, "$.context"),
        ("interactions", VIEW, {"context": None}, "$.context"),
        ("catalog", ITEM, {"title": "x" * 4097}, "$.title"),
        ("catalog", ITEM, {"title": None}, "$.title"),
        ("catalog", ITEM, {"text": "x" * 65_537}, "$.text"),
        ("catalog", ITEM, {"available": 1}, "$.available"),
        ("catalog", ITEM, {"available": "true"}, "$.available"),
        ("catalog", ITEM, {"categorical": {"c": "a"}}, "$.categorical.c"),
        ("catalog", ITEM, {"categorical": {"c": ["a", 1]}}, "$.categorical.c[1]"),
        ("catalog", ITEM, {"categorical": {"c": ["a", "b", ""]}}, "$.categorical.c[2]"),
        ("catalog", ITEM, {"categorical": {"c": ["x"] * 65}}, "$.categorical.c"),
        ("catalog", ITEM, {"categorical": {"c": [["x"]]}}, "$.categorical.c[0]"),
        ("catalog", ITEM, {"numerical": {"n": "1"}}, "$.numerical.n"),
        ("catalog", ITEM, {"numerical": {"n": None}}, "$.numerical.n"),
        ("profiles", PROFILE, {"categorical": {str(i): [] for i in range(65)}}, "$.categorical"),
        ("profiles", PROFILE, {"numerical": []}, "$.numerical"),
    ],
)
def test_fields_of_a_wrong_type_or_length_are_refused_with_their_path(kind, document, changes, path):
    """Wrong types, lengths and counts are refused, with the path of the field."""
    assert _verdict(_bytes(document, **changes), kind) == ("schema", path)


@pytest.mark.parametrize(
    ("kind", "document", "changes"),
    [
        (
            "interactions",
            VIEW,
            {"type": "é" * 64, "context": {"é" * 128: "é" * 256, **{str(i): i for i in range(63)}}},
        ),
        (
            "catalog",
            ITEM,
            {"title": "é" * 4096, "text": "x" * 65_536, "categorical": {"c": ["x" * 256] * 64, "d": []}},
        ),
        ("profiles", PROFILE, {"numerical": {str(i): -1e308 for i in range(64)}}),
    ],
)
def test_the_longest_that_is_allowed_is_taken(kind, document, changes):
    """Limits are inclusive, and those of names and texts count characters."""
    assert decode(kind, None, _bytes(document, **changes))


# --- hostile bytes


def test_a_message_of_256_kib_is_taken_and_a_byte_more_is_not():
    """256 KiB are taken, one byte more is not, and is not even parsed."""
    value = _bytes(VIEW)
    whole = value + b" " * (256 * 1024 - len(value))
    assert decode("interactions", None, whole)
    assert _verdict(whole + b" ") == ("size", "$")
    assert _verdict(b"\xff" * (256 * 1024 + 1)) == ("size", "$")


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b" ",
            b"{",
            b"}",
            b"nul",
            b"'a'",
            b"\x00",
            b'{"user_id"',
            b'{"a":01}',
            b'{"a":"\x01"}',
        ),
        *(b'{"a":1,}', b"{a:1}", b'{"a":"\\x"}', b'{"user_id":"u"', _bytes(VIEW)[:-1], _bytes(VIEW) + b"{}"),
        *(b"\xef\xbb\xbf" + _bytes(VIEW), _bytes(VIEW) + b"\x00", b"// a\n" + _bytes(VIEW)),
    ],
)
def test_bytes_that_are_no_json_are_refused_for_that(value):
    """Cut off, byte order mark, comments, anything: one reason, no crash."""
    assert _verdict(value) == ("json", "$")


@pytest.mark.parametrize("value", [b"[]", b"3", b'"x"', b"true", b"[[]]", b"{}"])
def test_json_that_is_no_event_is_refused_for_its_schema(value):
    """A message is an object with the required fields."""
    for kind in ("interactions", "catalog", "profiles"):
        assert _refused(value, kind).reason == "schema"


@pytest.mark.parametrize("name", ["a b", "\x1b[31m", "é", "x" * 65, "1"])
def test_a_name_that_is_not_plain_is_not_repeated(name):
    """The path goes into headers and logs: a name of an entry that could do harm there stays out of it."""
    assert _verdict(_bytes(VIEW, context={"good": 1, name: []})) == ("schema", "$.context[...]")


def test_the_entry_to_blame_is_told_from_the_good_ones():
    """Not the first one, and not the last: the one that is wrong."""
    assert (
        _verdict(_bytes(ITEM, categorical={"a": ["x"], "b": "y", "c": ["z"]}), "catalog")[1]
        == "$.categorical.b"
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400])
def test_numbers_that_are_not_finite_are_refused_with_their_field(number):
    """Only finite doubles reach the model; the field is named, though NaN is not even JSON."""
    assert _verdict(_view(f', "value": {number}')) == ("number", "$.value")
    assert _verdict(_view(f', "context": {{"a": {number}}}')) == ("number", "$.context.a")
    value = _bytes(ITEM)[:-1] + f', "numerical": {{"n": {number}}}}}'.encode()
    assert _verdict(value, "catalog") == ("number", "$.numerical.n")


def test_nan_is_refused_where_nobody_looks():
    """Even in a field that is ignored NaN makes the message no JSON; as a word in a string it is fine."""
    assert _verdict(_view(', "other": NaN')) == ("number", "$")
    assert decode("interactions", None, _view(', "other": "NaN"'))
    assert _verdict(_view(', "other": "NaN", "event_id": 3')) == ("schema", "$.event_id")


@pytest.mark.parametrize("place", ["user_id", "item_id", "other"])
@pytest.mark.parametrize("text", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_bytes_that_are_no_utf8_are_refused_anywhere(place, text):
    """Also in fields that are ignored: else two readers of one message could see two texts."""
    value = _view(f', "{place}": "@"').replace(b"@", text)
    assert _verdict(value) == ("utf8", "$")


@pytest.mark.parametrize("place", ["user_id", "item_id", "other"])
@pytest.mark.parametrize(
    "text", ["\\ud800", "\\udfff", "\\uD83Dx", "\\ude00\\ud83d", "a\\\\\\ud800", "\\ud83d\\u0041"]
)
def test_half_surrogate_pairs_are_refused(place, text):
    """Text that cannot be written as UTF-8 could not be an id in Redis."""
    assert _verdict(_view(f', "{place}": "{text}"')) == ("utf8", "$")


def test_whole_surrogate_pairs_are_text():
    """An escaped emoji is text like any other; an escaped backslash before u is no escape."""
    assert decode("interactions", None, _view(', "user_id": "\\ud83d\\ude00"')).user_id == "😀"
    assert decode("interactions", None, _view(', "user_id": "\\\\ud800"')).user_id == "\\ud800"


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_is_refused_wherever_it_stands(opening, closed):
    """A hundred thousand brackets are refused like any other nonsense, wherever they stand."""
    n = 250_000 // len(opening)
    closing = "".join({"[": "]", "{": "}"}[c] for c in reversed(opening) if c in "[{") * n if closed else ""
    deep = (opening * n + ("1" if closed else "") + closing)[: 255 * 1024]
    assert _refused(deep.encode()).reason in {"schema", "json", "depth"}
    for field in ("user_id", "timestamp", "context", "other"):
        assert _refused(_view(f', "{field}": {deep}')).reason in {"schema", "json", "depth"}


@pytest.mark.parametrize("n", [32, 1_000, 100_000])
def test_what_nests_too_deep_is_refused_for_that(n):
    """The reason is a label of metrics: one and the same whether we count the brackets or the decoder gives up."""
    refused = _refused(_view(f', "other": {"[" * n}{"]" * n}'))
    assert (refused.reason, refused.path) == ("depth", "$")


def test_a_timestamp_is_quoted_up_to_32_characters():
    """A longer one ends in dots, so that nobody takes what is shown for all there is."""
    for length, end in ((30, '"'), (31, "...")):
        detail = _refused(_view(f', "timestamp": "{"x" * length}"')).detail
        assert detail.endswith("got " + ('"' + "x" * length)[:32] + end)


def test_a_message_may_nest_32_deep_and_no_deeper():
    """Fields nobody named may nest 31 deep inside the message, 32 with it, whatever stack is left to us."""

    def at_depth(n_frames: int, value: bytes) -> bool:
        if n_frames:
            return at_depth(n_frames - 1, value)
        try:
            return bool(decode("interactions", None, value))
        except InvalidEvent as refusal:
            return (refusal.reason, refusal.path) != ("depth", "$")

    for opening, closing in (("[", "]"), ('{"a":', "}"), (' [ {"a" : ', "} ]")):
        n_opened = sum(c in "[{" for c in opening)
        for depth in range(26, 40, 2):
            inside = opening * (depth // n_opened) + "1" + closing * (depth // n_opened)
            verdicts = {at_depth(n_frames, _view(f', "other": {inside}')) for n_frames in (0, 400)}
            assert verdicts == {1 + depth <= 32}, depth


def test_many_brackets_are_not_deep():
    """Only nesting counts: neither lists side by side nor brackets in strings."""
    assert decode("interactions", None, _view(', "other": [' + "[[]]," * 1000 + "1]"))
    assert decode("interactions", None, _view(', "other": "' + '[{\\"' * 1000 + '"'))
    assert decode("catalog", None, _bytes(ITEM, categorical={str(i): ["a"] for i in range(64)}))


@pytest.mark.parametrize(
    "value",
    [
        b'{"user_id": "' + b'\\"' * 120_000,
        b'{"user_id": "' + b"\\" * 200_001,
        b'"' * 250_000,
        b"{" + b'"a":NaN,' * 30_000,
        b"{" + b'"\\ud800' * 30_000,
        b'{"other": [' + b"[]," * 80_000 + b"[]]}",
        b'{"a": "' + b"NaN" * 80_000,
    ],
)
def test_no_message_takes_long(value):
    """Telling what is wrong is linear in its size: a quadratic look at these would take minutes."""
    program = (
        "import sys; from streamer.events import decode; from streamer.errors import InvalidEvent\n"
        "try: decode('interactions', None, sys.stdin.buffer.read())\n"
        "except InvalidEvent: sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=value, timeout=20, check=False)
    assert done.returncode == 7


@pytest.mark.parametrize(
    "value",
    [
        _bytes(VIEW, timestamp="x" * 5000),
        _bytes(VIEW, timestamp="a\x7f\u2028\n\x1b[31mé"),
        _view(', "timestamp": "\x7f\x80\x9f"'),
        _view(', "timestamp": {"a":\r\n["\x1b"]}').replace(b"\x1b", b"\x7f"),
        _bytes(VIEW, user_id="\x1b[31m" * 20),
        _bytes(VIEW, context={"\x1b\x7f" * 20: None}),
        _bytes(VIEW, value={"secret": "hunter2"}),
        b"\x1b[31m",
    ],
)
def test_refusals_are_safe_to_print(value):
    """A refusal goes to logs and headers: short, printable, and showing a timestamp at most."""
    refusal = _refused(value)
    assert len(str(refusal)) < 200
    assert str(refusal).isprintable()
    assert str(refusal).isascii()
    assert "hunter2" not in str(refusal)


# --- owners of lists that are not users


def test_segments_own_lists_by_name():
    """The feature as the encoders name it, under a prefix that no user can have."""
    assert segment_list_id("profile:country=France") == "__streamer_segment__country=France"
    assert segment_list_id("profile:income#3") == "__streamer_segment__income#3"
    owner = segment_list_id("profile:a=b")
    assert "reserved" in str(user_id_problem(owner))
    assert owner != ANONYMOUS


@pytest.mark.parametrize(
    ("field", "value", "node"),
    [
        ("country", "France", "profile:country=France"),
        ("pair", "wine=red:50%#~", "profile:pair=wine=red:50%#~"),
        ("a=b:c#d~e%f", "g", "profile:a%3Db%3Ac%23d%7Ee%25f=g"),
        ("country", "__rare__", "profile:country=%__rare__"),
        ("off", "%50", "profile:off=%%50"),
    ],
)
def test_names_of_profile_nodes_escape_separators(field, value, node):
    """Separators in a field are escaped, those in a value need not be; our own words cannot be imitated."""
    assert profile_node(field, value) == node


def test_long_segments_are_named_by_hash():
    """An owner is never longer than an id, in bytes, and two features never share one."""
    longest = "é" * ((MAX_ID_BYTES - len("__streamer_segment__")) // 2)
    assert segment_list_id(f"profile:{longest}") == f"__streamer_segment__{longest}"
    owners = {segment_list_id(f"profile:{longest}{end}") for end in ("a", "b", "é" * 300)}
    assert len(owners) == 3
    assert all(len(owner.encode()) == len("__streamer_segment__") + 64 for owner in owners)


@pytest.mark.parametrize("node", ["country=France", "", "Profile:a=b", "word~a", "profile:\ud800"])
def test_only_nodes_of_profiles_are_segments(node):
    """Anything else is the caller's mistake."""
    with pytest.raises(ValueError, match=r"expected a node|surrogates"):
        segment_list_id(node)
