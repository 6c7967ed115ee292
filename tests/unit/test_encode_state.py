"""What encoders notice and keep: changes of distribution, the digest, the readable summary."""

import json
import random

import pytest
from encode_records import fed, profile, record
from river.drift import ADWIN
from river.stats import Var

from streamer.encode import Drift, Encoders
from streamer.encode.drift import DELTA, ValueWatch, _Detector
from streamer.encode.river_state import freeze, thaw

# Drift.


def prices(seed, n, level=1.0):
    """Records with lognormal prices around this level."""
    rng = random.Random(seed)
    return [record(numerical={"price": level * rng.lognormvariate(0.0, 1.0)}) for _ in range(n)]


def brands(seed, n, names, weights):
    """Records with one of these brands each."""
    rng = random.Random(seed)
    return [record(categorical={"brand": rng.choices(names, weights)}) for _ in range(n)]


@pytest.mark.parametrize("seed", range(4))
def test_a_jump_of_the_level_is_noticed_once(seed):
    """Prices that double are noticed within 300 records, with means on the right sides, and only once."""
    encoders = Encoders()
    fed(encoders, prices(seed, 1000))
    assert encoders.take_drifts() == []
    fed(encoders, prices(seed + 100, 2000, level=2.0))
    (drift,) = encoders.take_drifts()
    assert (drift.field, drift.kind) == ("price", "numerical")
    assert 1000 < drift.n_seen <= 1300
    assert drift.mean_before < drift.mean_after
    assert encoders.take_drifts() == []


def test_each_change_is_held_against_the_time_since_the_one_before():
    """Level 1, 10, 1: before the second jump the mean is near 10 e^.5 = 16.5, not that of all prices so far (9)."""
    encoders = Encoders()
    fed(encoders, [*prices(1, 1000), *prices(2, 1000, level=10.0), *prices(3, 500)])
    up, down = encoders.take_drifts()
    assert up.mean_before < 5.0 < up.mean_after
    assert down.mean_after < 5.0
    assert down.mean_before > 12.0


@pytest.mark.parametrize("seed", range(4))
def test_alarms_are_those_of_adwin(seed):
    """The detector takes an inner part of river's ADWIN: it speaks at the same number as the whole, and not before."""
    rng = random.Random(seed)
    levels = [rng.random() for _ in range(1000)] + [0.4 + 0.6 * rng.random() for _ in range(1000)]
    detector, adwin = _Detector(), ADWIN(delta=DELTA)
    for level in levels:
        adwin.update(level)
        assert (detector.feed(level, level) is not None) == adwin.drift_detected
        if adwin.drift_detected:
            break
    assert adwin.drift_detected


@pytest.mark.parametrize("seed", range(4))
def test_new_values_are_noticed(seed):
    """Brands that nobody knew are noticed within 300 records, as more surprise."""
    encoders = Encoders()
    fed(encoders, brands(seed, 1000, ["a", "b", "c", "d"], [8, 4, 2, 1]))
    fed(encoders, brands(seed, 300, ["x", "y", "z"], [1, 1, 1]))
    (drift,) = encoders.take_drifts()
    assert isinstance(drift, Drift)
    assert (drift.field, drift.kind) == ("brand", "categorical")
    assert drift.mean_before < drift.mean_after


@pytest.mark.parametrize("seed", range(4))
def test_what_does_not_change_raises_no_alarm(seed):
    """5,000 records of stationary prices, of common values, of many brands, of ids, of a growing date."""
    rng = random.Random(seed)
    names = [f"brand {n}" for n in range(3000)]
    shares = [1 / (n + 1) for n in range(3000)]
    encoders = Encoders()
    for n in range(5000):
        encoders.item(
            record(
                numerical={
                    "price": rng.lognormvariate(0.0, 1.0),
                    "children": rng.choice([0.0, 0.0, 0.0, 1.0, 2.0]),
                    "created": 1.39e9 + 60.0 * n,
                },
                categorical={
                    "brand": rng.choices(names, shares),
                    "sku": [str(n)],
                    "size": [rng.choice("SML")],
                },
            )
        )
    assert encoders.take_drifts() == []


# State.


def test_state_goes_on_as_if_it_had_never_stopped():
    """A copy made from the digest, in the middle, gives the same features, drifts and state from there on."""
    rng = random.Random(9)
    records = [
        record(
            title=" ".join(rng.choices(["red", "box", "lamp", "été"], k=3)),
            categorical={"brand": rng.choices("abcdef", k=2)},
            numerical={"price": rng.lognormvariate(0.0, 1.0) * (1.0 if n < 600 else 5.0)},
        )
        for n in range(1200)
    ]
    encoders = Encoders()
    fed(encoders, records[:500])
    encoders.context({"device": "x", "hour": 1.5})
    encoders.profile(profile(categorical={"age": ["1"]}, numerical={"income": 3.0}))
    copy = Encoders.from_bytes(encoders.digest())
    for one in records[500:]:
        first, second = encoders.item(one), copy.item(one)
        assert repr(first) == repr(second)  # nan is not equal to itself
    assert encoders.take_drifts() == copy.take_drifts() != []
    assert encoders.digest() == copy.digest()
    assert encoders.n_bytes() == copy.n_bytes()
    assert encoders.readable() == copy.readable()


def test_drifts_that_wait_are_no_state():
    """Whether the shell has taken them already does not change the state hash."""
    encoders = Encoders()
    fed(encoders, [*prices(1, 1000), *prices(2, 500, level=9.0)])
    digest = encoders.digest()
    assert encoders.take_drifts() != []
    assert encoders.digest() == digest


def test_every_kind_of_event_reaches_the_digest():
    """A record more, of any kind, is another state; so are other settings."""
    one = record(title="word", categorical={"a": ["x"]}, numerical={"b": 1.0})
    encoders = Encoders()
    digests = [
        encoders.digest(),
        Encoders(max_values=5).digest(),
        Encoders(ignore=frozenset({"words"})).digest(),
    ]
    for step in (
        lambda: encoders.item(one),
        lambda: encoders.item(one),
        lambda: encoders.item(record()),
        lambda: encoders.profile(profile()),
        lambda: encoders.context({"hour": 1.0}),
        lambda: encoders.context({"hour": 1.0}),
    ):
        step()
        digests.append(encoders.digest())
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "damage", [lambda state: state[:-1], lambda state: state[:9], lambda state: state[:-1] + b"\xff"]
)
def test_damaged_state_is_refused(damage):
    """River trusts the bytes it is given; so they are checked before it sees them."""
    encoders = Encoders()
    encoders.item(record(numerical={"x": 1.0}))
    with pytest.raises(ValueError, match="encoder state: expected"):
        Encoders.from_bytes(damage(encoders.digest()))


def test_an_estimator_that_cannot_be_kept_is_refused():
    """A river whose state is neither attributes nor bytes must fail, not be left out of the hash."""
    with pytest.raises(TypeError, match="expected a state of attributes or bytes"):
        freeze(object())


def test_a_state_of_other_parts_is_refused():
    """Where an estimator has a number, only a number or a text is put: nothing else reaches its arithmetic."""
    state = freeze(Var())
    thaw(Var(), state)
    for bad in ({**state, "_S": [1.0]}, {**state, "_S": b"1"}, {**state, "more": 1.0}, b"bytes"):
        with pytest.raises(ValueError, match="expected"):
            thaw(Var(), bad)


def test_what_came_once_is_as_surprising_as_what_is_new():
    """The first 256 records say what is common: a 128 times, b 127 times; of c, which came once, nothing is kept."""
    watch = ValueWatch()
    for n in range(256):
        watch.see(["a" if n % 2 else "b" if n else "c"])
    assert watch.freeze()[2] == {"a": 128, "b": 127}


def test_changes_of_profiles_are_told_once():
    """Incomes that grow tenfold are noticed as those of profiles, and taken with the call."""
    rng = random.Random(4)
    encoders = Encoders()
    for level in (1.0, 10.0):
        for _ in range(600):
            encoders.profile(profile(numerical={"income": level * rng.lognormvariate(0.0, 1.0)}))
    assert {drift.field for drift in encoders.take_drifts()} == {"profile:income"}
    assert encoders.take_drifts() == []


def test_readable_is_json_that_tells_what_was_learned():
    """Statistics of a field by hand: 1, 2, 3 and a, b, a."""
    encoders = Encoders()
    for price, brand in [(1.0, "a"), (2.0, "b"), (3.0, "a")]:
        encoders.item(record(title="red box", categorical={"brand": [brand]}, numerical={"price": price}))
    readable = json.loads(json.dumps(encoders.readable(), allow_nan=False))
    price = readable["catalog"]["numerical"]["price"]
    assert [price[name] for name in ("n", "mean", "std", "min", "max")] == [3, 2.0, 1.0, 1.0, 3.0]
    assert price["quantiles"] == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0]  # the ceil(3 n / 8)th of three
    brand = readable["catalog"]["categorical"]["brand"]
    assert (brand["n"], brand["n_values"], brand["top"]) == (3, 2, {"a": 2, "b": 1})
    assert readable["words"]["top"] == {"box": 3, "red": 3}
