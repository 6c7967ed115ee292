"""Data sets on disk become wire messages, in log order, without a look into the future."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.datasets import MAX_LINE_CHARS, Dataset, load
from streamer.errors import DataError
from streamer.events import decode

EVENTS = """user_id,item_id,value,timestamp
ann,tea,2.0,100
bob,cup,,160
ann,ghost,1.5,160
ann,tea,1,220
"""
ITEMS = """item_id,title,text,categories,price_first,price_median,first_seen_unix,n_at_dump,maker_id,hue
tea,Green tea,loose leaves,Drinks|Hot|Drinks,3.5,9.9,100,77,12,green
cup,"Cup, large",,,,1.0,160,5,12,
jug,Jug,never bought,Kitchen,8,8.0,900,1,13,blue
"""
USERS = """user_id,country,kids_count,reputation_at_dump,account_created_unix
ann,NO,2,1000,50
cid,SE,,3,60
"""


def write_set(directory: Path, events: str = EVENTS, items: str = ITEMS, users: str | None = USERS) -> Path:
    """A set of plain CSV files in `directory`; None leaves a file out."""
    directory.mkdir(exist_ok=True)
    for stem, text in (("events", events), ("items", items), ("users", users)):
        if text is not None:
            (directory / f"{stem}.csv").write_text(text, encoding="utf-8")
    return directory


def bodies(dataset: Dataset, kind: str) -> list[dict]:
    """What the messages of one kind say, in log order."""
    return [json.loads(message.value) for message in dataset.messages() if message.kind == kind]


def order(dataset: Dataset) -> list[str]:
    """Kind and key of every message, in log order."""
    return [f"{message.kind[0]}:{message.key.decode()}" for message in dataset.messages()]


def test_interactions_carry_the_fields_of_the_contract(tmp_path: Path) -> None:
    """Seconds become milliseconds, an empty value is absent, event ids are the same on every reading."""
    dataset = load(write_set(tmp_path / "shop"), catalog_first=True)
    first, second, *_ = bodies(dataset, "interactions")
    assert first == {
        "event_id": "shop-0",
        "user_id": "ann",
        "item_id": "tea",
        "type": "interaction",
        "timestamp": 100_000,
        "value": 2.0,
    }
    assert second == {
        "event_id": "shop-1",
        "user_id": "bob",
        "item_id": "cup",
        "type": "interaction",
        "timestamp": 160_000,
    }
    assert list(dataset.messages()) == list(dataset.messages())


def test_catalog_records_hold_only_what_was_known_before(tmp_path: Path) -> None:
    """No column of the dump or of the whole span; numbers are numerical, ids and words categorical."""
    tea, cup, _ = bodies(load(write_set(tmp_path), catalog_first=True), "catalog")
    assert tea == {
        "item_id": "tea",
        "title": "Green tea",
        "text": "loose leaves",
        "categorical": {"category": ["Drinks", "Hot"], "maker_id": ["12"], "hue": ["green"]},
        "numerical": {"price": 3.5},
        "available": True,
        "timestamp": 100_000,
    }
    assert cup["title"] == "Cup, large"
    assert cup["categorical"] == {"maker_id": ["12"]}
    assert cup["numerical"] == {}


def test_profiles_hold_only_what_was_known_before(tmp_path: Path) -> None:
    """The dump's reputation and account times stay out; an empty cell is absent."""
    assert bodies(load(write_set(tmp_path), catalog_first=False), "profiles") == [
        {
            "user_id": "ann",
            "categorical": {"country": ["NO"]},
            "numerical": {"kids_count": 2.0},
            "timestamp": 100_000,
        },
        {"user_id": "cid", "categorical": {"country": ["SE"]}, "numerical": {}, "timestamp": 100_000},
    ]


def test_catalog_first_publishes_everything_before_the_events(tmp_path: Path) -> None:
    """The demo's order: catalog, profiles, interactions as the file has them."""
    assert order(load(write_set(tmp_path), catalog_first=True)) == [
        "c:tea", "c:cup", "c:jug", "p:ann", "p:cid", "i:ann", "i:bob", "i:ann", "i:ann",
    ]  # fmt: skip


def test_otherwise_an_item_comes_right_after_its_first_event(tmp_path: Path) -> None:
    """The replay's order: no record foretells its first event, and an item nobody takes (jug) never comes."""
    assert order(load(write_set(tmp_path), catalog_first=False)) == [
        "p:ann", "p:cid", "i:ann", "c:tea", "i:bob", "c:cup", "i:ann", "i:ann",
    ]  # fmt: skip


def test_no_record_tells_the_time_of_its_own_first_event(tmp_path: Path) -> None:
    """Catalog and profile records all carry the time of the log's first interaction."""
    dataset = load(write_set(tmp_path), catalog_first=False)
    assert {b["timestamp"] for kind in ("catalog", "profiles") for b in bodies(dataset, kind)} == {100_000}


def test_pooled_text_is_left_out_beside_dated_tags(tmp_path: Path) -> None:
    """`text` that pools the tags of all times knows the future; dated tags beside it say that it does."""
    write_set(tmp_path)
    (tmp_path / "tag_events.csv.gz").write_bytes(gzip.compress(b"user_id,item_id,tag,timestamp\n"))
    assert {b["text"] for b in bodies(load(tmp_path, catalog_first=True), "catalog")} == {""}


def test_max_events_limits_interactions_only(tmp_path: Path) -> None:
    """`--events N`: the first N interactions, and with catalog_first the whole catalog all the same."""
    directory = write_set(tmp_path)
    assert load(directory, catalog_first=True).n_interactions == 4
    dataset = load(directory, catalog_first=True, max_events=2)
    assert dataset.n_interactions == 2
    assert [b["item_id"] for b in bodies(dataset, "interactions")] == ["tea", "cup"]
    assert len(bodies(dataset, "catalog")) == 3
    assert load(directory, catalog_first=True, max_events=0).n_interactions == 0
    assert load(directory, catalog_first=True, max_events=99).n_interactions == 4


def test_gzip_and_plain_files_give_the_same(tmp_path: Path) -> None:
    """Either form of a file is read."""
    (tmp_path / "plain").mkdir()
    plain = write_set(tmp_path / "plain" / "shop")
    zipped = tmp_path / "shop"
    zipped.mkdir()
    for path in plain.iterdir():
        (zipped / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    expected = list(load(plain, catalog_first=False).messages())
    assert list(load(zipped, catalog_first=False).messages()) == expected


def test_titles_and_users_are_optional_riches(tmp_path: Path) -> None:
    """A set without users and with bare items is still a set; titles are there for those that have one."""
    dataset = load(
        write_set(tmp_path, items="item_id,title\ntea,Tea\ncup,\n", users=None), catalog_first=True
    )
    assert dataset.titles == {"tea": "Tea"}
    assert bodies(dataset, "profiles") == []
    assert [b["item_id"] for b in bodies(dataset, "catalog")] == ["tea", "cup"]


HEAD = "user_id,item_id,value,timestamp\n"


@pytest.mark.parametrize(
    ("events", "where", "what"),
    [
        ("", "events.csv:1", "header with user_id, item_id, value, timestamp"),
        ("user_id,item_id\na,b\n", "events.csv:1", "header with value, timestamp"),
        (HEAD + "a,x,1,100\na,x,1\n", "events.csv:3", "4 fields, got 3"),
        (HEAD + "a,x,1,100\n,x,1,100\n", "events.csv:3", "user_id to be an id, got an empty one"),
        (HEAD + f"a,{'x' * 257},1,100\n", "events.csv:2", "item_id to be an id, got one of 257 bytes"),
        (HEAD + "a,x,1,yesterday\n", "events.csv:2", "epoch seconds, got 'yesterday'"),
        (HEAD + "a,x,1,-5\n", "events.csv:2", "epoch seconds, got '-5'"),
        (HEAD + "a,x,1," + "9" * 5000 + "\n", "events.csv:2", "epoch seconds"),
        (HEAD + "a,x,much,100\n", "events.csv:2", "finite number, got 'much'"),
        (HEAD + "a,x,nan,100\n", "events.csv:2", "finite number, got 'nan'"),
        (HEAD + 'a,"x,1,100\n', "events.csv", "CSV in UTF-8"),
        (HEAD + "a," + "x" * (MAX_LINE_CHARS + 1), "events.csv:2", "line of fewer than"),
        (HEAD + "a," + "x" * 200_000 + ",1,100\n", "events.csv", "field limit"),
    ],
)
def test_malformed_events_say_file_line_and_what_was_expected(
    tmp_path: Path, events: str, where: str, what: str
) -> None:
    """A DataError names file and line, what was expected and what came, and never repeats a huge field."""
    with pytest.raises(DataError) as caught:
        list(load(write_set(tmp_path, events=events), catalog_first=False).messages())
    assert where in str(caught.value)
    assert what in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ("title\nTea\n", "items.csv:1: expected a header with item_id"),
        ("item_id,title\ntea,Tea\ntea,Tea\n", "items.csv:3: expected each item_id once, got 'tea' again"),
        ("item_id,title\ntea\n", "items.csv:2: expected 2 fields, got 1"),
        ("item_id,title,title\n", "columns with names of their own"),
        ("item_id,categories\ntea," + "|".join(map(str, range(65))) + "\n", "$.categorical"),
    ],
)
def test_malformed_items_say_what_was_expected(tmp_path: Path, items: str, what: str) -> None:
    """Items are checked when the set is loaded, before anything is published."""
    with pytest.raises(DataError) as caught:
        load(write_set(tmp_path, items=items), catalog_first=True)
    assert what in str(caught.value)


def test_missing_and_broken_files_are_data_errors(tmp_path: Path) -> None:
    """No directory, no items, a text that is no gzip, a gzip cut short, bytes that are no UTF-8."""
    with pytest.raises(DataError, match="expected a directory"):
        load(tmp_path / "nowhere", catalog_first=True)
    (tmp_path / "events.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"expected items\.csv\.gz or items\.csv there"):
        load(tmp_path, catalog_first=True)
    (tmp_path / "items.csv").write_text(ITEMS)
    for broken in (
        b"not gzip",
        gzip.compress(EVENTS.encode() * 100)[:80],
        gzip.compress(HEAD.encode() + b"\xff"),
    ):
        (tmp_path / "events.csv.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"events\.csv\.gz: expected gzipped CSV in UTF-8"):
            list(load(tmp_path, catalog_first=True).messages())


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
LOGS = st.lists(st.tuples(IDS, IDS, st.integers(0, 4_000_000_000)), max_size=20)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=LOGS, listed=st.lists(IDS, unique=True, max_size=10), catalog_first=st.booleans())
def test_any_set_keeps_the_log_order_and_the_contract(
    tmp_path: Path, log: list[tuple[str, str, int]], listed: list[str], catalog_first: bool
) -> None:
    """Interactions keep file order, every message decodes, no item's record precedes its first event."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    events = HEAD + "".join(f"{quoted(u)},{quoted(i)},1,{t}\n" for u, i, t in log)
    items = "item_id,title\n" + "".join(f"{quoted(i)},T\n" for i in listed)
    dataset = load(write_set(tmp_path, events, items, users=None), catalog_first=catalog_first)
    messages = list(dataset.messages())
    decoded = [decode(message.kind, message.key, message.value) for message in messages]
    got = [(e.user_id, e.item_id, e.timestamp_ms // 1000) for e in decoded if hasattr(e, "event_id")]
    assert got == log
    catalog = [e.item_id for e in decoded if hasattr(e, "title")]
    if catalog_first:
        assert catalog == listed
    else:
        touched = dict.fromkeys(i for _, i, _ in log if i in listed)
        assert catalog == list(touched)
        for item_id in catalog:
            at = next(n for n, e in enumerate(decoded) if hasattr(e, "title") and e.item_id == item_id)
            before = [e.item_id for e in decoded[:at] if hasattr(e, "event_id")]
            assert before[-1] == item_id
            assert before.count(item_id) == 1


def test_what_tables_write_for_an_unknown_number_is_none(tmp_path: Path) -> None:
    """One such cell must not turn a column of numbers into names."""
    items = "item_id,title,price,size\ntea,Tea,3.5,NA\ncup,Cup,nan,N/A\n"
    dataset = load(write_set(tmp_path / "shop", items=items), catalog_first=True)
    tea, cup = bodies(dataset, "catalog")
    assert (tea["numerical"], cup["numerical"]) == ({"price": 3.5}, {})
    assert cup["categorical"] == {"size": ["N/A"]}


@pytest.mark.parametrize("columns", ["price,price_first", "category,categories"])
def test_two_columns_of_one_field_are_refused(tmp_path: Path, columns: str) -> None:
    """One would replace the other in silence."""
    directory = write_set(tmp_path / "shop", items=f"item_id,title,{columns}\ntea,Tea,1,2\n")
    with pytest.raises(DataError, match=r"items\.csv:1: columns .* are both the field"):
        load(directory, catalog_first=True)


def test_a_reserved_user_id_is_refused_with_its_line(tmp_path: Path) -> None:
    """Here, where file and line are known, and not by the fold."""
    directory = write_set(tmp_path / "shop", events=EVENTS + "__streamer_x,tea,1,230\n")
    with pytest.raises(DataError, match=r"events\.csv:6: .* reserved"):
        list(load(directory, catalog_first=True).messages())


def test_a_table_of_excel_is_read(tmp_path: Path) -> None:
    """Its byte order mark is no part of the first column's name."""
    directory = write_set(tmp_path / "shop", events="\ufeff" + EVENTS)
    assert load(directory, catalog_first=True).n_interactions == 4
