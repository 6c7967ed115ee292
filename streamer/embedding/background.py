"""Embeds texts in a thread of its own: the worker asks, goes on, and is told when there is a vector."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from streamer.embedding.vectors import embed, sound
from streamer.embedding.waiting import Text, Waiting
from streamer.errors import StreamerError, Unavailable
from streamer.ports import TextCache, TextModel
from streamer.priority import give_way

_log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_SIZE = 64
_FIRST_PAUSE_S = 0.1
_KEY_BYTES = 16  # of 32 are enough to tell the texts of one log apart


class EmbedderStats(NamedTuple):
    """What happened so far."""

    n_embedded: int  # by the model
    n_cached: int  # found in the cache
    n_failures: int  # tries that gave nothing, and texts that could not be kept


class Embedder:
    """The background thread, and what waits for it. All methods may be called from any thread.

    A text is *open* from `request` until `known`: asked for, and not on the log yet. It is asked of the cache first, 64 a
    call, then of the model, which is loaded when it is first needed. A batch that fails goes back to the end, and the
    next batch is of one text: so a text that cannot be embedded holds up no other. What comes of it is handed to `deliver`.

    Args:
        name: Of the model, as in the settings: what `load` loads says the same of itself.
        load: Loads the model, in the thread.
        cache: Asked first, and given what the model makes. While it is away the model does without.
        deliver: Called in the thread with content key, name of the model and vector; must not raise.
        max_known: Keys remembered of those on the log. One that is forgotten is embedded again when its text comes again:
            that costs a look into the cache and one message.
        max_in_memory: Texts waiting in memory; more wait in a temporary file.
        backoff_max_s: Longest pause between tries while the model fails.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], TextModel],
        cache: TextCache,
        deliver: Callable[[str, str, bytes], None],
        *,
        max_known: int = 500_000,
        max_in_memory: int = 10_000,
        backoff_max_s: float = 10.0,
    ) -> None:
        self._name = name
        self._load = load
        self._cache = cache
        self._deliver = deliver
        self._known = _Remembered(max_known)
        self._open: set[str] = set()
        self._waiting = Waiting(max_in_memory)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._wait = wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=backoff_max_s)
        self._model: TextModel | None = None
        self._cache_is_away = False
        self._n_next = BATCH_SIZE
        self._n_embedded = self._n_cached = self._n_failures = 0
        self._thread = threading.Thread(target=self._work, name="embedder", daemon=True)

    def start(self) -> None:
        """Begin with what was requested so far and is not known by now."""
        self._thread.start()

    def request(self, key: str, content: str) -> None:
        """Ask for the vector of a text, unless it is known or asked for already. Never waits for the model.

        Args:
            key: `texts.content_key` of the model's name and the text.
            content: The text, not empty.
        """
        with self._changed:
            if key in self._open or key in self._known:
                return
            self._open.add(key)
            self._keep(Text(key, content))
            self._changed.notify()

    def known(self, key: str) -> None:
        """The vector of this text is on the log: it need not be made."""
        with self._changed:
            self._known.add(key)
            self._open.discard(key)

    def backlog(self) -> int:
        """Texts asked for whose vector is not on the log yet."""
        return len(self._open)

    def stats(self) -> EmbedderStats:
        """Counts since the start."""
        with self._changed:
            return EmbedderStats(self._n_embedded, self._n_cached, self._n_failures)

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread after the batch at hand, or leave it behind after `timeout_s`. Idempotent."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._model = None  # a process of its own ends with it
            self._waiting.close()
            self._cache.close()

    def _keep(self, text: Text) -> None:
        try:
            self._waiting.put(text)
        except OSError as exc:
            # the disk is full; asked for again with its item's next event, or at the next start
            self._open.discard(text.key)
            self._n_failures += 1
            _log.error("text_not_kept", extra={"key": text.key, "error": str(exc)})

    # --- in the thread ---

    def _work(self) -> None:
        give_way()
        while not self._closing.is_set():
            try:
                Retrying(
                    retry=retry_if_exception_type(Unavailable),
                    wait=self._wait,
                    stop=stop_when_event_set(self._closing),
                    sleep=sleep_using_event(self._closing),
                    before_sleep=_tell,
                    reraise=True,
                )(self._turn)
            except Unavailable:
                return  # we are closing: what is left is asked for again at the next start

    def _turn(self) -> None:
        """Wait for texts, and deliver their vectors.

        Raises:
            Unavailable: there is none for some of them; they went back to the end.
        """
        batch: dict[str, str] = {}  # key -> content, without those that have been delivered
        try:
            self._take(batch)
            self._from_cache(batch)
            self._from_model(batch)
        except Exception as exc:
            with self._changed:
                self._n_failures += 1
                self._n_next = 1
            self._put_back(batch)
            raise Unavailable(f"texts were not embedded: {exc}") from exc
        with self._changed:
            self._n_next = min(2 * self._n_next, BATCH_SIZE)

    def _take(self, batch: dict[str, str]) -> None:
        """Put the next texts into the batch; waits until there are any, or we are closing."""
        with self._changed:
            while not len(self._waiting) and not self._closing.is_set():
                self._changed.wait()
            while len(self._waiting) and len(batch) < self._n_next and not self._closing.is_set():
                text = self._waiting.take()
                if text.key in self._open:  # else it came by the log meanwhile
                    batch[text.key] = text.content

    def _put_back(self, batch: dict[str, str]) -> None:
        with self._changed:
            for key, content in batch.items():
                if key in self._open:
                    self._keep(Text(key, content))

    def _from_cache(self, batch: dict[str, str]) -> None:
        """Deliver those that the cache holds, and take them out of the batch."""
        found = self._ask_cache(lambda: self._cache.read(list(batch))) if batch else None
        for key, vector in sound(found or {}).items():
            del batch[key]
            self._deliver(key, self._name, vector)
            with self._changed:
                self._n_cached += 1

    def _from_model(self, batch: dict[str, str]) -> None:
        if not batch:
            return
        if self._model is None:
            self._model = self._load()
            _log.info("text_model_loaded", extra={"model": self._name, "dim": self._model.dim})
        vectors = dict(zip(batch, embed(self._model, list(batch.values())), strict=True))
        self._ask_cache(lambda: self._cache.write(vectors))
        batch.clear()
        for key, vector in vectors.items():
            self._deliver(key, self._name, vector)
        with self._changed:
            self._n_embedded += len(vectors)

    def _ask_cache(self, action: Callable[[], T]) -> T | None:
        """The answer; None while the cache is away, which is reported once: it spares work, and nothing depends on it."""
        try:
            answer = action()
        except StreamerError as exc:
            if not self._cache_is_away:
                _log.warning("text_cache_away", extra={"error": str(exc)})
            self._cache_is_away = True
            return None
        self._cache_is_away = False
        return answer


class _Remembered:
    """A set that forgets: of the keys added, the last `n_max / 2` at least and the last `n_max` at most."""

    def __init__(self, n_max: int) -> None:
        self._n_half = max(1, n_max // 2)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def add(self, key: str) -> None:
        self._young.add(_short(key))
        if len(self._young) >= self._n_half:
            self._old, self._young = self._young, set()

    def __contains__(self, key: str) -> bool:
        short = _short(key)
        return short in self._young or short in self._old


def _short(key: str) -> bytes:
    return bytes.fromhex(key)[:_KEY_BYTES]


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("texts_not_embedded", extra={"error": str(error), "tries": state.attempt_number})
