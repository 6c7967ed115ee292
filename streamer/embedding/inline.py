"""Embeds texts at once: for `replay`, where the vector of a text comes right behind its item."""

import logging
from collections.abc import Callable, Iterable, Sequence

from streamer.embedding.vectors import embed, sound
from streamer.errors import Unavailable
from streamer.events import CatalogItem, TextEmbedded
from streamer.ports import TextCache, TextModel
from streamer.texts import content_key, content_of

_log = logging.getLogger(__name__)

CHUNK = 256  # texts between two words to `progress`


class InlineTexts:
    """Items -> the events of their texts, the same with a cold cache and a warm one.

    Args:
        name: Of the model, as in the settings.
        load: Loads the model; called when the cache does not hold everything.
        cache: Asked first, and given what the model makes. While it is away the model does without.
    """

    def __init__(self, name: str, load: Callable[[], TextModel], cache: TextCache) -> None:
        self._name = name
        self._load = load
        self._cache = cache
        self._cache_is_away = False
        self._model: TextModel | None = None
        self._vectors: dict[str, bytes] = {}

    def prefetch(
        self, items: Iterable[CatalogItem], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Get the vectors of these items' texts, many at a time, so that `event` need not get them one by one.

        Args:
            items: The catalog to come.
            progress: Called with texts done and to do.

        Raises:
            Unavailable: the model does not work.
            ConfigError: it cannot be loaded.
        """
        contents = dict.fromkeys(content_of(item) for item in items)
        contents.pop("", None)
        texts = list(contents)
        for at in range(0, len(texts), CHUNK):
            self._get(texts[at : at + CHUNK])
            if progress is not None:
                progress(min(at + CHUNK, len(texts)), len(texts))

    def event(self, item: CatalogItem) -> TextEmbedded | None:
        """What comes right behind this item on the log; None where it has no text.

        Raises:
            Unavailable: the model does not work.
            ConfigError: it cannot be loaded.
        """
        content = content_of(item)
        if not content:
            return None
        key = content_key(self._name, content)
        if key not in self._vectors:
            self._get([content])
        return TextEmbedded(key, self._name, self._vectors[key])

    def _get(self, contents: Sequence[str]) -> None:
        by_key = {content_key(self._name, content): content for content in contents}
        found = sound(self._read(list(by_key)))
        missing = {key: content for key, content in by_key.items() if key not in found}
        if missing:
            if self._model is None:
                self._model = self._load()
            made = dict(zip(missing, embed(self._model, list(missing.values())), strict=True))
            self._write(made)
            found |= made
        self._vectors |= found

    def _read(self, keys: Sequence[str]) -> dict[str, bytes]:
        try:
            return {} if self._cache_is_away else self._cache.read(keys)
        except Unavailable as exc:
            self._do_without(exc)
            return {}

    def _write(self, vectors: dict[str, bytes]) -> None:
        try:
            if not self._cache_is_away:
                self._cache.write(vectors)
        except Unavailable as exc:
            self._do_without(exc)

    def _do_without(self, exc: Unavailable) -> None:
        self._cache_is_away = True
        _log.warning("text_cache_away", extra={"error": str(exc)})
