"""Properties of the encoders over arbitrary records: limits, names, memory, state."""

import copy
import math

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.encode import N_NUMBERS, Encoders
from streamer.encode.names import MISSING, RARE, bin_name, pool_name, word_name
from streamer.events import CatalogItem, Profile, category_name, escaped

slow = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

hostile_text = st.text(alphabet="ab=#~:%_ é1", min_size=1, max_size=6)
fields = st.sampled_from(["price", "brand", "a=b", "a", "profile:a", "word"]) | hostile_text
values = st.sampled_from(["x", "y", "__rare__", "%__rare__", "=", "#0"]) | hostile_text
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, 1.4e9])
categorical = st.dictionaries(fields, st.lists(values, max_size=9), max_size=5)
numerical = st.dictionaries(fields, numbers, max_size=6)
items = st.builds(
    CatalogItem,
    item_id=st.just("i"),
    title=st.text(max_size=20) | st.just("red box"),
    text=st.text(max_size=20),
    categorical=categorical,
    numerical=numerical,
    timestamp_ms=st.just(0),
)
profiles = st.builds(
    Profile, user_id=st.just("u"), categorical=categorical, numerical=numerical, timestamp_ms=st.just(0)
)
contexts = st.dictionaries(fields, values | numbers, max_size=6)
records = st.lists(items | profiles | contexts, max_size=40)


def play(encoders, one):
    """What the encoders make of a record of any kind."""
    if isinstance(one, CatalogItem):
        return encoders.item(one)
    return encoders.profile(one) if isinstance(one, Profile) else encoders.context(one)


@slow
@given(records)
def test_features_keep_to_their_limits(log):
    """Counts are capped, no name comes twice, numbers are within +-3 or nan, and no name means two kinds of thing."""
    encoders = Encoders(max_fields=6, max_values=5)
    for one in log:
        features = play(encoders, one)
        if not isinstance(one, CatalogItem):
            assert len(features) <= (8 if isinstance(one, Profile) else 4)
            assert len(set(features)) == len(features)
            prefix = "profile:" if isinstance(one, Profile) else "context:"
            assert all(name.startswith(prefix) for name in features)
            continue
        assert [len(features.categories) <= 8, len(features.bins) <= 4, len(features.words) <= 12] == [
            True
        ] * 3
        names = [*features.categories, *features.bins, *features.words]
        assert len(set(names)) == len(names)
        assert not any(name.startswith(("profile:", "context:")) for name in names)
        assert len(features.numbers) == N_NUMBERS
        assert all(math.isnan(number) or -3.0 <= number <= 3.0 for number in features.numbers)


kinds = st.one_of(
    st.tuples(st.just("category"), fields, values),
    st.tuples(st.just("pool"), fields, st.sampled_from([RARE, MISSING])),
    st.tuples(st.just("bin"), fields, st.integers(0, 99)),
    st.tuples(st.just("word"), st.from_regex(r"[a-zé1]{2,6}", fullmatch=True), st.none()),
)
prefixes = st.sampled_from(["", "profile:", "context:"])


def name_of(prefix, kind, field, rest):
    """The node name of a feature; a word has no prefix."""
    stem = prefix + escaped(field)
    if kind == "word":
        return word_name(field)
    return {"category": category_name, "pool": pool_name, "bin": bin_name}[kind](stem, rest)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(prefixes, kinds), min_size=2, max_size=12))
def test_different_features_have_different_names(features):
    """As many names as there are features, whatever separators their fields and values carry."""
    different = {(("" if feature[0] == "word" else prefix), *feature) for prefix, feature in features}
    assert len({name_of(*feature) for feature in different}) == len(different)


@slow
@given(records, st.integers(0, 40))
def test_state_from_bytes_is_the_state(log, at):
    """Stopping and going on from bytes, anywhere, changes neither what comes out nor the state."""
    whole, stopped = Encoders(max_fields=6, max_values=5), Encoders(max_fields=6, max_values=5)
    for n, one in enumerate(log):
        if n == at:
            stopped = Encoders.from_bytes(stopped.digest())
        assert repr(play(whole, one)) == repr(play(stopped, one))
    assert whole.digest() == stopped.digest()
    assert whole.readable() == stopped.readable()


@slow
@given(records)
def test_records_are_neither_changed_nor_kept(log):
    """What the caller does with a record afterwards is no matter."""
    before = copy.deepcopy(log)
    encoders = Encoders()
    for one in log:
        play(encoders, one)
    assert log == before
    digest = encoders.digest()
    for one in log:
        fields_of = [one] if isinstance(one, dict) else [one.categorical, one.numerical]
        for table in fields_of:
            table.clear()
    assert encoders.digest() == digest


@slow
@given(records)
def test_memory_is_bounded(log):
    """Fields, values and words stay within their caps while learning, and summaries are JSON."""
    encoders = Encoders(max_fields=3, max_values=4)
    for one in log:
        play(encoders, one)
        for part in (encoders._catalog, encoders._profiles, encoders._contexts):
            assert len(part.categorical) + len(part.numerical) <= 3
            counts = [len(field.counts) for field in part.categorical.values()]
            assert sum(counts) <= 8
            assert max(counts, default=0) <= 4
        assert len(encoders._words.counts) <= 4
    assert encoders.n_bytes() <= 9 * 16_000 + (3 * 8 + 4) * 400
    msgspec.json.encode(encoders.readable())
