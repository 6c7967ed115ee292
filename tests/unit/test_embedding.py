"""Texts to vectors beside the loop and inline: caches first, nothing twice, nothing lost, no failure that stops it."""

import errno
import random
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from streamer.adapters.memory.texts import MemoryTextCache, MemoryTextModel
from streamer.embedding import Embedder, InlineTexts
from streamer.embedding.background import _Remembered
from streamer.embedding.waiting import Text, Waiting
from streamer.errors import ConfigError, Unavailable
from streamer.events import CatalogItem, vector_problem
from streamer.texts import content_key, content_of

Until = Callable[..., Any]


def key(content: str) -> str:
    """Of a text embedded by the model in memory."""
    return content_key("memory", content)


def vector(content: str) -> bytes:
    """What the model in memory makes of it."""
    return MemoryTextModel().embed([content])[0].astype("<f2").tobytes()


class Model(MemoryTextModel):
    """Remembers what it was asked, fails when told to, and waits at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.n_failures_left = 0
        self.poison: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.is_in = threading.Event()

    def embed(self, texts: Sequence[str]) -> Any:
        """As its parent, with trouble."""
        self.asked.append(list(texts))
        self.is_in.set()
        assert self.gate.wait(30)
        if self.n_failures_left:
            self.n_failures_left -= 1
            raise Unavailable("not now")
        if self.poison.intersection(texts):
            raise RuntimeError("a bug in the model")
        return super().embed(texts)


class Desk:
    """An embedder with its model and cache, and all that it delivered."""

    def __init__(self, **options: Any) -> None:
        self.model, self.cache = Model(), MemoryTextCache()
        self.n_loads = self.n_load_failures_left = 0
        self.delivered: list[tuple[str, str, bytes]] = []
        options = {"backoff_max_s": 0.02, **options}
        self.embedder = Embedder("memory", self._load, self.cache, self._deliver, **options)

    def _load(self) -> MemoryTextModel:
        if self.n_load_failures_left:
            self.n_load_failures_left -= 1
            raise ConfigError("no such model")
        self.n_loads += 1
        return self.model

    def _deliver(self, *made: Any) -> None:
        self.delivered.append(made)

    def request(self, *contents: str) -> None:
        """Ask for texts by their content."""
        for content in contents:
            self.embedder.request(key(content), content)

    def made(self) -> list[str]:
        """In the order they were delivered."""
        return [made[0] for made in self.delivered]


@pytest.fixture
def make() -> Iterator[Callable[..., Desk]]:
    """Makes desks, and closes their embedders."""
    desks: list[Desk] = []

    def make_(**options: Any) -> Desk:
        desks.append(Desk(**options))
        return desks[-1]

    yield make_
    for desk in desks:
        desk.model.gate.set()
        desk.embedder.close()


TEXTS = [f"text {n}" for n in range(150)]


def test_every_text_gets_the_vector_of_the_model(make: Callable[..., Desk], poll_until: Until) -> None:
    """In order, in batches of 64, with the model's name, and into the cache; the model is loaded once."""
    desk = make()
    desk.request(*TEXTS)
    desk.embedder.start()
    poll_until(lambda: len(desk.delivered) == 150)
    assert desk.delivered == [(key(text), "memory", vector(text)) for text in TEXTS]
    assert [len(asked) for asked in desk.model.asked] == [64, 64, 22]
    assert desk.cache.read([key("text 7")]) == {key("text 7"): vector("text 7")}
    assert (desk.n_loads, desk.embedder.stats()) == (1, (150, 0, 0))


def test_a_text_is_open_until_it_is_known(make: Callable[..., Desk], poll_until: Until) -> None:
    """The backlog falls when the vector comes by the log, not when it is delivered; then it is not asked for again."""
    desk = make()
    desk.embedder.start()
    desk.request("a", "b", "a")
    poll_until(lambda: len(desk.delivered) == 2)
    assert desk.embedder.backlog() == 2
    desk.request("a")
    desk.embedder.known(key("a"))
    assert desk.embedder.backlog() == 1
    desk.request("a", "c")
    poll_until(lambda: len(desk.delivered) == 3)
    assert desk.made() == [key("a"), key("b"), key("c")]


def test_what_is_known_before_the_start_is_not_embedded(make: Callable[..., Desk], poll_until: Until) -> None:
    """Requests may come before the log has told what it has; either order."""
    desk = make()
    desk.embedder.known(key("a"))
    desk.request("a", "b", "c")
    desk.embedder.known(key("b"))
    desk.embedder.start()
    poll_until(lambda: desk.delivered)
    assert desk.model.asked == [["c"]]
    assert desk.made() == [key("c")]


def test_the_cache_is_asked_first(make: Callable[..., Desk], poll_until: Until) -> None:
    """What it has needs no model, which is not even loaded; what is no vector in it is made again."""
    desk = make()
    desk.cache.write({key("a"): vector("a"), key("b"): b"garbage"})
    desk.embedder.start()
    desk.request("a")
    poll_until(lambda: desk.delivered)
    assert desk.n_loads == 0
    desk.request("b")
    poll_until(lambda: len(desk.delivered) == 2)
    assert desk.delivered[1] == (key("b"), "memory", vector("b"))
    assert desk.cache.read([key("b")]) == {key("b"): vector("b")}
    assert desk.embedder.stats() == (1, 1, 0)


def test_a_model_that_fails_is_tried_again(make: Callable[..., Desk], poll_until: Until) -> None:
    """At loading and at work; every text is delivered once in the end, and the failures are counted."""
    desk = make()
    desk.n_load_failures_left, desk.model.n_failures_left = 2, 3
    desk.request(*TEXTS)
    desk.embedder.start()
    poll_until(lambda: len(desk.delivered) >= 150)
    assert sorted(desk.made()) == sorted(map(key, TEXTS))
    assert desk.embedder.stats() == (150, 0, 5)


def test_a_text_that_cannot_be_embedded_holds_up_no_other(
    make: Callable[..., Desk], poll_until: Until
) -> None:
    """It is tried again and again, alone, and stays in the backlog; the others come, also those after it."""
    desk = make()
    desk.model.poison = {"text 70"}
    desk.request(*TEXTS)
    desk.embedder.start()
    poll_until(lambda: len(desk.delivered) == 149)
    for made in desk.made():
        desk.embedder.known(made)
    assert desk.embedder.backlog() == 1
    desk.request("late")
    poll_until(lambda: key("late") in desk.made())
    desk.model.poison = set()
    poll_until(lambda: key("text 70") in desk.made())
    assert len(desk.delivered) == 151


def test_a_model_of_wrong_shape_is_a_failure(make: Callable[..., Desk], poll_until: Until) -> None:
    """Nothing of it is delivered or cached."""
    desk = make()
    desk.model.embed = lambda texts: np.full((len(texts), 64), np.nan, np.float32)  # type: ignore[method-assign]
    desk.request("a")
    desk.embedder.start()
    poll_until(lambda: desk.embedder.stats().n_failures > 2)
    assert desk.delivered == []
    assert desk.cache.read([key("a")]) == {}


def test_without_its_cache_it_goes_on(make: Callable[..., Desk], poll_until: Until) -> None:
    """The model embeds; once the cache is back it is filled again."""
    desk = make()
    desk.cache.down = True
    desk.embedder.start()
    desk.request("a")
    poll_until(lambda: desk.delivered)
    desk.cache.down = False
    desk.request("b")
    poll_until(lambda: len(desk.delivered) == 2)
    assert desk.cache.read([key("a"), key("b")]) == {key("b"): vector("b")}
    assert desk.embedder.stats() == (2, 0, 0)


def test_a_slow_model_makes_nobody_wait(make: Callable[..., Desk], poll_until: Until) -> None:
    """Requests return while the model is stuck, however many; those beyond the memory wait in a file, in order."""
    desk = make(max_in_memory=10)
    desk.model.gate.clear()
    desk.embedder.start()
    desk.request("first")
    assert desk.model.is_in.wait(10)
    desk.request(*TEXTS)
    assert desk.embedder.backlog() == 151
    desk.model.gate.set()
    poll_until(lambda: len(desk.delivered) == 151)
    assert desk.made() == [key(text) for text in ("first", *TEXTS)]


def test_closing_does_not_wait_for_a_stuck_model(make: Callable[..., Desk]) -> None:
    """After the time allowed its daemon thread is left behind."""
    desk = make()
    desk.model.gate.clear()
    desk.embedder.start()
    desk.request("a")
    assert desk.model.is_in.wait(10)
    desk.embedder.close(timeout_s=0.01)
    assert desk.delivered == []


def test_closing_ends_a_failing_model_s_pauses(make: Callable[..., Desk], poll_until: Until) -> None:
    """The thread is gone, though it would have slept for an hour."""
    desk = make(backoff_max_s=3600.0)
    desk.model.n_failures_left = 10**9
    desk.request("a")
    desk.embedder.start()
    poll_until(lambda: desk.embedder.stats().n_failures)
    desk.embedder.close(timeout_s=20.0)
    assert not desk.embedder._thread.is_alive()


def test_a_text_that_cannot_be_kept_is_counted(
    make: Callable[..., Desk], poll_until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room for the file the text is not open, so that it can be asked for again."""
    desk = make(max_in_memory=1)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere")
        desk.request("a", "b")
    assert desk.embedder.backlog() == 1
    assert desk.embedder.stats().n_failures == 1
    desk.request("b")
    desk.embedder.start()
    poll_until(lambda: len(desk.delivered) == 2)


# --- its parts ---


@pytest.mark.parametrize("seed", range(20))
def test_waiting_is_a_queue(seed: int) -> None:
    """Against a deque: any order of putting and taking, with one to five texts in memory."""
    rng = random.Random(seed)
    waiting, expected = Waiting(rng.randrange(1, 6)), deque[Text]()
    for n in range(300):
        if expected and rng.random() < 0.5:
            assert waiting.take() == expected.popleft()
        else:
            text = Text(str(n), 'é"\n' * rng.randrange(3))
            waiting.put(text)
            expected.append(text)
        assert len(waiting) == len(expected)
    assert [waiting.take() for _ in range(len(waiting))] == list(expected)
    with pytest.raises(IndexError):
        waiting.take()
    waiting.close()


def test_half_a_line_spoils_no_other() -> None:
    """A disk that is full in the middle of a text: that one is not kept, and what comes before and after it is whole."""
    waiting = Waiting(1)
    texts = [Text(str(n), "text") for n in range(4)]
    for text in texts[:2]:
        waiting.put(text)
    file = waiting._file
    waiting._file = FullDisk(file)  # type: ignore[assignment]  # all of a file that a put calls
    with pytest.raises(OSError, match="No space left"):
        waiting.put(texts[2])
    waiting._file = file
    waiting.put(texts[3])
    assert [waiting.take() for _ in range(len(waiting))] == [texts[0], texts[1], texts[3]]
    waiting.close()


class FullDisk:
    """A file that has room for half of what is written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.truncate = file.seek, file.truncate

    def write(self, line: bytes) -> None:
        """Half of it."""
        self._file.write(line[: len(line) // 2])

    def flush(self) -> None:
        """Where the system says so."""
        self._file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_known_is_bounded() -> None:
    """The last half is always remembered, never more than the whole."""
    remembered = _Remembered(10)
    keys = [key(str(n)) for n in range(100)]
    for n, each in enumerate(keys):
        remembered.add(each)
        assert all(recent in remembered for recent in keys[max(0, n - 4) : n + 1])
        assert sum(old in remembered for old in keys) <= 10


# --- inline ---


def items(*contents: str) -> list[CatalogItem]:
    """With these titles."""
    return [CatalogItem(item_id=f"i{n}", title=text, timestamp_ms=1) for n, text in enumerate(contents)]


def test_inline_gives_the_same_events_whatever_the_cache_holds() -> None:
    """Cold, warm, half warm, away, prefetched or not: the events of a catalog, each right behind its item."""
    catalog = items(*TEXTS, "", "text 3")
    expected = [
        None if not item.title else (key(item.title), "memory", vector(item.title)) for item in catalog
    ]
    for n_cached in (0, 70, 150):
        for is_fetched in (False, True):
            for is_down in (False, True):
                model, cache = MemoryTextModel(), MemoryTextCache()
                cache.write({key(text): vector(text) for text in TEXTS[:n_cached]})
                cache.down = is_down
                texts = InlineTexts("memory", lambda model=model: model, cache)  # type: ignore[misc]
                if is_fetched:
                    texts.prefetch(catalog)
                events = [texts.event(item) for item in catalog]
                found = [None if e is None else (e.key, e.model, e.vector) for e in events]
                assert found == expected
                assert model.n_embedded == 150 - (0 if is_down else n_cached)


def test_inline_tells_how_far_it_is_and_embeds_each_text_once() -> None:
    """Texts done and to do, in steps of 256; equal texts count once; a second run embeds nothing."""
    cache, told, models = MemoryTextCache(), [], [MemoryTextModel(), MemoryTextModel()]
    catalog = items(*[f"t{n}" for n in range(600)], "t5", "")
    for model in models:
        texts = InlineTexts("memory", lambda model=model: model, cache)  # type: ignore[misc]
        texts.prefetch(catalog, lambda *step: told.append(step))
    assert told == 2 * [(256, 600), (512, 600), (600, 600)]
    assert [model.n_embedded for model in models] == [600, 0]


def test_a_model_that_cannot_be_had_ends_the_replay() -> None:
    """There is nobody to wait for it; but only where the cache does not have everything."""

    def load() -> MemoryTextModel:
        raise ConfigError("no such model")

    cache = MemoryTextCache()
    cache.write({key("a"): vector("a")})
    texts = InlineTexts("memory", load, cache)
    assert texts.event(items("a")[0]) is not None
    with pytest.raises(ConfigError):
        texts.prefetch(items("b"))


def test_the_model_in_memory_makes_vectors() -> None:
    """Of unit norm, near where words are shared, for any text."""
    rows = MemoryTextModel().embed(["red lamp", "red lamp shade", "blue chair", "", "?", "\ud800"])
    assert all(vector_problem(row.astype("<f2").tobytes()) is None for row in rows)
    assert rows[0] @ rows[1] > 0.5 > abs(rows[0] @ rows[2])
    assert content_of(items("red lamp")[0]) == "red lamp"
