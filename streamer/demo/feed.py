"""Publishes a data set, never so far ahead of the worker that the embedded Kafka would lose records."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from itertools import groupby

import msgspec

from streamer.datasets import Dataset, Message
from streamer.errors import Unavailable
from streamer.events import Kind
from streamer.ports import Sink

# The embedded Kafka keeps about 5 MiB of compressed bytes a partition and drops older ones without a word.
# zstd brings the JSON of events to a fifth, prose to about half: within both limits the log keeps everything.
MAX_AHEAD = 40_000
MAX_AHEAD_BYTES = 8 << 20
SENDS_A_TICK = 64
FLUSH_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 180.0  # a text model is loaded in 10 s, on a machine that does much else in a minute or two
LAST_ITEMS_KEPT = 5
_PAUSE_S = 0.005
_RIVAL_SHARE = 1.2


class _ItemOf(msgspec.Struct):
    item_id: str


class Feed:
    """One data set on its way to the worker, and what has been sent of it.

    Args:
        dataset: Loaded with `catalog_first`, so that kinds do not interleave.
        sink: Where messages go.
        topics: Kind -> topic.
        n_read: Topic -> messages the worker has read so far, as last heard.
        tick: Called often, also while waiting: redraws, asks the worker how far it is.
        rate: Interactions a second at most; None: as fast as the worker follows.
        n_texts: Texts of items that wait for their vector, as last heard, not before `n_read`.
    """

    def __init__(
        self,
        dataset: Dataset,
        sink: Sink,
        topics: Mapping[Kind, str],
        n_read: Callable[[], Mapping[str, int]],
        tick: Callable[[], None],
        *,
        rate: float | None = None,
        n_texts: Callable[[], int] = lambda: 0,
    ) -> None:
        self._dataset = dataset
        self._sink = sink
        self._topics = topics
        self._n_read = n_read
        self._n_texts = n_texts
        self._tick = tick
        self._rate = rate
        self._item_of = msgspec.json.Decoder(_ItemOf)
        self.n_sent: Counter[Kind] = Counter()
        self.n_events_of: Counter[str] = Counter()
        self.last_items_of: dict[str, deque[str]] = {}
        self.active_user: str | None = None

    def run(self) -> None:
        """Send everything; return when the worker has read everything.

        Each kind is read to its end, and the catalog's texts have their vectors, before the next is sent: the order
        between topics is not on the log.

        Raises:
            Unavailable: Kafka does not take messages, or the worker does not get on.
        """
        for kind, messages in groupby(self._dataset.messages(), key=lambda message: message.kind):
            n_bytes = 0
            n_a_tick = self._n_a_tick(kind)
            started_s = time.monotonic()
            for message in messages:
                if self.n_sent[kind] % n_a_tick == 0:
                    self._pace(kind, n_bytes, started_s)
                self._sink.send(self._topics[kind], message.key, message.value)
                self.n_sent[kind] += 1
                n_bytes += len(message.key) + len(message.value)
                if kind == "interactions":
                    self._remember(message)
            self._sink.flush(FLUSH_TIMEOUT_S)
            self._wait_until(0, lambda kind=kind: self.n_ahead(kind) + self._n_texts(), kind)  # type: ignore[misc]

    def n_ahead(self, kind: Kind) -> int:
        """Messages sent and, as far as we have heard, not read by the worker."""
        return self.n_sent[kind] - self._n_read().get(self._topics[kind], 0)

    def _n_a_tick(self, kind: Kind) -> int:
        """Messages that go at once: of a rate, no more than fall into one pause, or it would come in bursts."""
        if kind != "interactions" or self._rate is None:
            return SENDS_A_TICK
        return max(1, min(SENDS_A_TICK, int(self._rate * _PAUSE_S)))

    def _pace(self, kind: Kind, n_bytes: int, started_s: float) -> None:
        self._tick()
        n_sent = self.n_sent[kind]
        mean_bytes = max(1, n_bytes // max(1, n_sent))
        n_allowed = min(MAX_AHEAD, MAX_AHEAD_BYTES // mean_bytes)
        self._wait_until(n_allowed, lambda: self.n_ahead(kind), kind)
        if kind == "interactions" and self._rate is not None:
            due_s = started_s + n_sent / self._rate
            while time.monotonic() < due_s:
                self._tick()
                time.sleep(min(_PAUSE_S, max(0.0, due_s - time.monotonic())))

    def _wait_until(self, n_allowed: int, n_waiting: Callable[[], int], kind: Kind) -> None:
        """Wait until at most `n_allowed` are waiting; a stall is timed from the last one that was done."""
        n_ahead_prev = n_waiting()
        give_up_at_s = time.monotonic() + STALL_TIMEOUT_S
        while (n_ahead := n_waiting()) > n_allowed:
            if n_ahead != n_ahead_prev:
                n_ahead_prev = n_ahead
                give_up_at_s = time.monotonic() + STALL_TIMEOUT_S
            if time.monotonic() > give_up_at_s:
                n_unread = self.n_ahead(kind)
                what = (
                    f"read none of {n_unread:,} waiting {kind} messages"
                    if n_unread
                    else f"embedded none of {n_ahead:,} texts"
                )
                raise Unavailable(
                    f"the worker {what} in {STALL_TIMEOUT_S:g} s; is the machine busy with other work?"
                )
            self._tick()
            time.sleep(_PAUSE_S)

    def _remember(self, message: Message) -> None:
        user_id = message.key.decode()
        self.n_events_of[user_id] += 1
        last_items = self.last_items_of.get(user_id)
        if last_items is None:
            last_items = self.last_items_of[user_id] = deque(maxlen=LAST_ITEMS_KEPT)
        last_items.append(self._item_of.decode(message.value).item_id)
        # One user is watched until another is clearly more active: a view that hops about shows nothing.
        n_leader = self.n_events_of[self.active_user] if self.active_user is not None else 0
        if self.n_events_of[user_id] > _RIVAL_SHARE * n_leader:
            self.active_user = user_id
