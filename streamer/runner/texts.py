"""Texts of items on their way: asked for when the item is folded, put on the log when embedded, done when folded from there."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from streamer.config import Settings
from streamer.embedding import Embedder, EmbedderStats
from streamer.events import CatalogItem, Event, TextEmbedded
from streamer.ports import TextCache, TextModel
from streamer.runner.outgoing import Message, Outgoing
from streamer.telemetry import Telemetry
from streamer.texts import content_key, content_of, encode


class TextPorts(NamedTuple):
    """What embeds the texts of items.

    Args:
        load: Loads the model that `text_model` of the settings names; called in the background, when it is needed.
        cache: Vectors made before. Closed by the runner, used by no other thread.
    """

    load: Callable[[], TextModel]
    cache: TextCache


class Texts:
    """The loop's side of the embedder; nothing here waits for the model.

    Args:
        settings: Name of the model, topic of its vectors.
        ports: The model and its cache.
        outgoing: Takes the messages.
        telemetry: Counts.
    """

    def __init__(
        self, settings: Settings, ports: TextPorts, outgoing: Outgoing, telemetry: Telemetry
    ) -> None:
        self._model = settings.text_model
        self._topic = settings.topic_texts
        self._outgoing = outgoing
        self._telemetry = telemetry
        self._made: deque[TextEmbedded] = deque()  # filled by the embedder's thread
        self._shown = EmbedderStats(0, 0, 0)
        self._embedder = Embedder(
            settings.text_model,
            ports.load,
            ports.cache,
            lambda *made: self._made.append(TextEmbedded(*made)),
            max_known=settings.max_items,
            backoff_max_s=settings.backoff_max_s,
        )
        telemetry.text_backlog.set_function(self._embedder.backlog)

    def start(self) -> None:
        """The log's texts have been read: embed what it does not have."""
        self._embedder.start()

    def known(self, keys: Iterable[str]) -> None:
        """The log has the vectors of these texts."""
        for key in keys:
            self._embedder.known(key)

    def follow(self, events: Iterable[Event]) -> None:
        """Ask for the texts of these items, unless the log has them or they are asked for already.

        Args:
            events: Just folded.
        """
        for event in events:
            if isinstance(event, CatalogItem):
                content = content_of(event)
                if content:
                    self._embedder.request(content_key(self._model, content), content)
            elif isinstance(event, TextEmbedded):
                self._embedder.known(event.key)

    def send(self) -> None:
        """Put what was embedded since the last call on its way to the log.

        Raises:
            Unavailable: Kafka stays away while we are stopping.
        """
        if not self._made:
            return
        while self._made:
            made = self._made.popleft()
            self._outgoing.add(Message(self._topic, made.key.encode(), encode(made)))
        self._outgoing.send()

    def show(self) -> None:
        """Bring the counters up to date."""
        now, shown = self._embedder.stats(), self._shown
        self._telemetry.texts_embedded.labels("model").inc(now.n_embedded - shown.n_embedded)
        self._telemetry.texts_embedded.labels("cache").inc(now.n_cached - shown.n_cached)
        self._telemetry.text_failures.inc(now.n_failures - shown.n_failures)
        self._shown = now

    def close(self) -> None:
        """End the thread; what it has not come to is asked for at the next start. Idempotent."""
        self._embedder.close()
        self.show()
