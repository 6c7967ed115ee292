"""Encoders on hand-worked records: numbers, categories, words, profiles, contexts, caps and switches."""

import json
import math
import random

import numpy as np
import pytest
from encode_records import fed, profile, record

from streamer.encode import N_NUMBERS, Encoders
from streamer.encode.numerical import N_BEFORE_TAIL, NumericalField
from streamer.encode.words import MAX_TEXT_CHARS, Words, words_of
from streamer.graph.state import PROFILE_NODES

# Numbers.


def test_numbers_are_standardised_with_the_running_mean_and_deviation():
    """1, 2, 3: mean 2, sample deviation 1; the record is learned before it is encoded."""
    encoders = Encoders()
    expected = [0.0, math.sqrt(0.5), 1.0]  # 1 alone; 1 and 2: 0.5 / sqrt(0.5); 1, 2 and 3
    for price, z in zip([1.0, 2.0, 3.0], expected, strict=True):
        numbers = encoders.item(record(numerical={"price": price})).numbers
        assert numbers[0] == pytest.approx(z)
        assert math.isnan(numbers[1])
        assert len(numbers) == N_NUMBERS


def test_numbers_are_those_of_the_first_fields_ever_seen():
    """A third field has no number; a field keeps its place when it is missing."""
    encoders = Encoders()
    encoders.item(record(numerical={"a": 1.0, "b": 5.0}))
    numbers = encoders.item(record(numerical={"c": 1.0, "b": 7.0})).numbers
    assert math.isnan(numbers[0])
    assert numbers[1] == pytest.approx(math.sqrt(0.5))


def test_numbers_are_clipped_and_constants_are_zero():
    """Beyond three deviations nothing is told apart; a field of one value says nothing."""
    encoders = Encoders()
    assert fed(encoders, [record(numerical={"x": 5.0})] * 50).numbers[0] == 0.0
    for size in (-1e9, 1e9):
        encoders = Encoders()
        fed(encoders, [record(numerical={"x": n % 7}) for n in range(50)])
        assert encoders.item(record(numerical={"x": size})).numbers[0] == math.copysign(3.0, size)


def test_heavy_tails_are_squeezed_before_they_are_standardised():
    """Lognormal prices, which skew, are standardised in log1p; bell-shaped ones as they are."""
    rng = random.Random(5)
    heavy = [rng.lognormvariate(1.0, 1.2) for _ in range(400)]
    even = [rng.gauss(50.0, 10.0) for _ in range(400)]
    encoders = Encoders()
    numbers = fed(
        encoders, [record(numerical={"heavy": h, "even": e}) for h, e in zip(heavy, even, strict=True)]
    )
    logs = np.log1p(heavy)
    assert numbers.numbers[0] == pytest.approx((logs[-1] - logs.mean()) / logs.std(ddof=1))
    assert numbers.numbers[1] == pytest.approx((even[-1] - np.mean(even)) / np.std(even, ddof=1))
    fields = encoders.readable()["catalog"]["numerical"]
    assert [fields[name]["transform"] for name in ("heavy", "even")] == ["sign(x) log1p(|x|)", "none"]


def test_the_verdict_on_a_tail_does_not_flicker():
    """Heavy from a skew over 1.5 until it is under 1.0, worked out anew each time; a copy of the state agrees."""
    rng = random.Random(8)
    stream = [rng.lognormvariate(0.0, 1.0) for _ in range(40)] + [12.0 * rng.random() for _ in range(400)]
    field = NumericalField("x", watched=False)
    heavy, between = False, 0
    for n, number in enumerate(stream, start=1):
        copy = NumericalField("x", watched=False)
        copy.thaw(field.freeze())
        for one in (field, copy):
            one.learn(number)
        if n >= N_BEFORE_TAIL:
            skew = abs(skewness(stream[:n]))
            heavy = skew > (1.0 if heavy else 1.5) and abs(skewness(np.log1p(stream[:n]))) < skew
            between += heavy and skew < 1.5
        assert field.heavy == copy.heavy == heavy
    assert between > 0
    assert not heavy


def skewness(numbers):
    """The third standardised moment, corrected for bias."""
    deviations = np.asarray(numbers) - np.mean(numbers)
    n = len(deviations)
    return math.sqrt(n * (n - 1)) / (n - 2) * np.mean(deviations**3) / np.mean(deviations**2) ** 1.5


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_missing(number):
    """They reach no statistic: those of the record before stay."""
    encoders = Encoders()
    encoders.item(record(numerical={"x": 1.0}))
    features = encoders.item(record(numerical={"x": number}))
    assert features.bins == ("x#missing",)
    assert math.isnan(features.numbers[0])
    assert encoders.readable()["catalog"]["numerical"]["x"]["n"] == 1


def test_huge_numbers_leave_the_statistics_finite():
    """The largest float does not turn moments into infinities, of which nothing could be subtracted."""
    encoders = Encoders()
    features = fed(encoders, [record(numerical={"x": x}) for x in [1.8e308, -1.8e308, 0.0] * 20])
    assert math.isfinite(features.numbers[0])
    json.dumps(encoders.readable(), allow_nan=False)


# Categories.


def test_categories_take_turns():
    """The first value of each field, then the second ones; each once, at most 8."""
    features = Encoders().item(
        record(categorical={"tag": list("abcdefghij"), "brand": ["x"], "empty": [], "maker": ["y", "y", "z"]})
    )
    assert features.categories == (
        *("tag=a", "brand=x", "maker=y"),
        *("tag=b", "maker=z", "tag=c", "tag=d", "tag=e"),
    )


def test_values_are_admitted_until_their_table_is_full():
    """Of a field with room for 2 values the third is rare; those known keep their names."""
    encoders = Encoders(max_values=2)
    found = [encoders.item(record(categorical={"f": [v]})).categories for v in ["a", "b", "c", "a", "c"]]
    assert found == [("f=a",), ("f=b",), ("f=__rare__",), ("f=a",), ("f=__rare__",)]
    assert encoders.readable()["catalog"]["categorical"]["f"]["n_pooled"] == 2


def test_all_fields_together_keep_twice_as_many_values():
    """A third field finds no room when two have used it up."""
    encoders = Encoders(max_values=2)
    values = {"f": ["a", "b"], "g": ["a", "b"], "h": ["a"]}
    assert encoders.item(record(categorical=values)).categories[-1] == "h=__rare__"


def test_fields_like_ids_pool_what_is_seen_once():
    """After 200 records of different values a new one is rare; the second time it has its name."""
    encoders = Encoders()
    found = [encoders.item(record(categorical={"sku": [str(n)]})).categories for n in range(201)]
    assert found[198] == ("sku=198",)
    assert found[199:] == [("sku=__rare__",), ("sku=__rare__",)]
    assert encoders.item(record(categorical={"sku": ["200"]})).categories == ("sku=200",)


def test_fields_whose_values_come_back_pool_nothing():
    """A third of the values are different: a new one has its name at once."""
    encoders = Encoders()
    fed(encoders, [record(categorical={"brand": [str(n // 3)]}) for n in range(300)])
    assert encoders.item(record(categorical={"brand": ["new"]})).categories == ("brand=new",)


def test_a_category_that_most_records_have_is_missed():
    """Missing is a value of its own; it comes last."""
    encoders = Encoders()
    fed(encoders, [record(categorical={"genre": ["a"]})] * 3)
    features = encoders.item(record(categorical={"brand": ["b"], "genre": []}))
    assert features.categories == ("brand=b", "genre=__missing__")


def test_separators_cannot_make_two_features_one():
    """Fields and values that imitate our separators, pools, escapes and prefixes keep names of their own."""
    encoders = Encoders()
    names = [
        *encoders.item(record(categorical={"a": ["b=c"]})).categories,
        *encoders.item(record(categorical={"a=b": ["c"]})).categories,
        *encoders.item(record(categorical={"a%3Db": ["c"]})).categories,
    ]
    assert names[0] == "a=b=c"
    assert len(set(names)) == 4  # three values, and "a=__missing__"
    for value, imitated in [("__rare__", "f=__rare__"), ("%__rare__", "f=%__rare__")]:
        assert encoders.item(record(categorical={"f": [value]})).categories[0] != imitated
    taken = {
        *encoders.profile(profile(categorical={"age": ["1"]}, numerical={"n": 1.0})),
        *encoders.context({"device": "x", "n": 1.0}),
        *encoders.item(record(title="word", numerical={"n": 1.0})).words,
    }
    assert taken == {"profile:age=1", "profile:n#0", "context:device=x", "context:n#0", "word~word"}
    forged = encoders.item(
        record(
            categorical={"profile:age": ["1"], "context:device": ["x"], "word~word": ["x"]},
            numerical={"profile:n": 1.0, "context:n": 1.0, "n#0": 1.0},
        )
    )
    assert taken.isdisjoint({*forged.categories, *forged.bins})


# Words.


def test_words_are_lower_cased_and_keep_their_accents():
    """Numbers and single letters go, each word comes once; composed and decomposed letters are one."""
    assert words_of("The HANGING Heart, the 3 hearts: 12 x T-light 4D") == [
        "the",
        "hanging",
        "heart",
        "hearts",
        "light",
        "4d",
    ]
    assert words_of("Á annan VEG - L'été") == ["annan", "veg", "été"]
    assert words_of("e\u0301te\u0301") == ["été"]
    assert words_of("हिन्दी फ़िल्म") == ["हिन्दी", "फ़िल्म"]  # vowel signs stay with their letters
    assert words_of("½ ²² x" + "y" * 60) == []
    assert words_of("a_b cd_ef") == ["cd", "ef"]


def test_the_rarest_words_come_first():
    """Highest idf is lowest count; equals in order of appearance; the text itself counts."""
    encoders = Encoders()
    fed(encoders, [record(title="red box"), record(title="red lamp")])
    assert encoders.item(record(title="red box green lamp")).words == (
        "word~green",  # 1
        "word~box",  # 2
        "word~lamp",  # 2
        "word~red",  # 3
    )


def test_the_text_stands_in_for_an_empty_title():
    """Only then; at most 12 words; a text is read as far as a title may be long."""
    encoders = Encoders()
    assert encoders.item(record(title="ab", text="cd")).words == ("word~ab",)
    assert encoders.item(record(title=" ", text="cd")).words == ("word~cd",)
    assert len(encoders.item(record(text=" ".join(f"w{n}" for n in range(99)))).words) == 12
    assert encoders.item(record(text=" " * MAX_TEXT_CHARS + "late")).words == ()


def test_words_seen_least_are_forgotten_when_there_are_too_many():
    """Of 8 kept, 7 stay: nine words leave the two seen twice, since the rest are equals."""
    words = Words(8)
    words.nodes("aa bb", 12)
    words.nodes("aa bb cc dd ee ff gg hh", 12)
    assert len(words.counts) == 8
    assert words.nodes("ii", 12) == ("word~ii",)
    assert words.counts == {"aa": 2, "bb": 2}
    assert words.n_forgotten == 7


# Profiles and contexts.


def test_profiles_have_a_prefix_and_room_for_bins():
    """As many nodes as a user's row has places for, numbers among them."""
    nodes = Encoders().profile(
        profile(categorical={"age": ["45-54"], "tags": list("abcdefgh")}, numerical={"income": 5.0})
    )
    assert len(nodes) == PROFILE_NODES
    assert nodes == (
        *("profile:age=45-54", "profile:tags=a", "profile:tags=b", "profile:tags=c", "profile:tags=d"),
        "profile:income#0",
    )


def test_contexts_name_their_first_four_fields():
    """Text is a category, a number a bin; what follows is not even learned."""
    encoders = Encoders()
    nodes = encoders.context({"device": "mobile", "hour": 13.0, "a": "x", "b": "y", "c": "z"})
    assert nodes == ("context:device=mobile", "context:hour#0", "context:a=x", "context:b=y")
    assert list(encoders.readable()["contexts"]["categorical"]) == ["device", "a", "b"]
    assert encoders.context({}) == ()


def test_numbers_of_contexts_are_learned_sparsely():
    """The first 1,024, then every 16th: 1024 + 960 / 16 of 1,984."""
    encoders = Encoders()
    for n in range(1984):
        encoders.context({"hour": float(n % 24)})
    field = encoders._contexts.numerical["hour"]
    assert field.n_seen == 1984
    assert field.bins.quantiles.n == 1024 + 60


# Bounds and switches.


def test_fields_beyond_the_cap_are_refused():
    """Both kinds share the cap; each kind of record has its own."""
    encoders = Encoders(max_fields=2)
    encoders.item(record(categorical={"a": ["x"]}, numerical={"b": 1.0}))
    features = encoders.item(record(categorical={"c": ["x"], "a": ["x"]}, numerical={"d": 1.0, "b": 1.0}))
    assert (features.categories, features.bins) == (("a=x",), ("b#0",))
    assert encoders.readable()["catalog"]["n_fields_refused"] == 2
    assert encoders.profile(profile(categorical={"c": ["x"]})) == ("profile:c=x",)


def test_a_record_of_made_up_fields_does_not_take_all_places_for_ever():
    """What fewer than one record in a hundred had makes way for what comes now; what most have stays, with all it learned."""
    encoders = Encoders(max_fields=8)
    encoders.item(record(categorical={"kind": ["x"]}, numerical={f"attr_{n}": 1.0 for n in range(7)}))
    assert encoders.n_fields_refused == 0
    for n in range(200):
        features = encoders.item(
            record(categorical={"kind": ["x"], "brand": ["a"]}, numerical={"price": n % 7})
        )
    assert features.categories == ("kind=x", "brand=a")
    assert features.bins[0].startswith("price#")
    assert 0 < encoders.n_fields_refused < 2 * 101
    assert encoders.readable()["catalog"]["categorical"]["kind"]["n"] == 201
    again = Encoders.from_bytes(encoders.digest())
    assert again.digest() == encoders.digest()
    assert again.n_bytes() == encoders.n_bytes()


@pytest.mark.parametrize("ignored", ["numerical", "categorical", "words", "context"])
def test_what_is_ignored_leaves_no_trace(ignored):
    """The ablation takes one kind of feature away from every kind of record, and nothing else."""
    whole = {
        "categorical": (("g=a",), ("profile:g=a",), ("context:g=a",)),
        "numerical": (("n#0",), ("profile:n#0",), ("context:n#0",)),
    }
    encoders = Encoders(ignore=frozenset({ignored}))
    features = encoders.item(record(title="some words", categorical={"g": ["a"]}, numerical={"n": 1.0}))
    users = encoders.profile(profile(categorical={"g": ["a"]}, numerical={"n": 1.0}))
    contexts = encoders.context({"g": "a", "n": 1.0})
    categories, bins = (
        ((),) * 3 if kind == ignored else whole[kind] for kind in ("categorical", "numerical")
    )
    assert (features.categories, features.bins) == (categories[0], bins[0])
    assert math.isnan(features.numbers[0]) == (ignored == "numerical")
    assert features.words == (() if ignored == "words" else ("word~some", "word~words"))
    assert users == categories[1] + bins[1]
    assert contexts == (() if ignored == "context" else categories[2] + bins[2])


@pytest.mark.parametrize(
    "arguments", [{"max_fields": 0}, {"max_values": 0}, {"ignore": frozenset({"colour"})}]
)
def test_wrong_arguments_are_refused(arguments):
    """A cap that keeps nothing, or a switch that nobody knows, is an error and not a surprise."""
    with pytest.raises(ValueError, match="expected"):
        Encoders(**arguments)
