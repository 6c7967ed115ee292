"""Words of titles and texts, and in how many of them each was seen."""

import re
import unicodedata
from heapq import nsmallest
from typing import Any

from streamer.encode.categorical import n_bytes_of
from streamer.encode.names import word_name

MAX_TEXT_CHARS = 4096
"""As long as a title may be; a text is read as far as this."""
MAX_WORD_CHARS = 40
"""Longer ones are addresses or data, not words."""
N_TOP = 20

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The different words of a text, lower-cased, in order of appearance; accents stay.

    Runs of letters and digits are words, in any script; numbers and single letters are not. Scripts without
    spaces give one word per phrase.
    """
    text = text[:MAX_TEXT_CHARS].lower()
    if text.isascii():
        found = _WORD.findall(text)
    else:
        # Marks belong to their letter: to `re` they are no part of a word, which cuts up Hindi or Thai.
        text = unicodedata.normalize("NFC", text)
        found = "".join(
            mark if mark.isalnum() or unicodedata.category(mark)[0] == "M" else " " for mark in text
        ).split()
    return [word for word in dict.fromkeys(found) if 1 < len(word) <= MAX_WORD_CHARS and not word.isnumeric()]


class Words:
    """Running document frequency of words, in bounded memory.

    When the table is full, an eighth of it is made free: the words seen least are forgotten, and all others seen as seldom as
    these. A word that comes back starts anew. Records count, not items: a title sent again counts again.

    Args:
        max_words: Words kept.
    """

    __slots__ = ("_max_words", "counts", "n_bytes", "n_forgotten", "n_texts")

    def __init__(self, max_words: int) -> None:
        self._max_words = max_words
        self.n_texts = 0
        self.n_forgotten = 0
        self.n_bytes = 0
        self.counts: dict[str, int] = {}

    def nodes(self, text: str, n_most: int) -> tuple[str, ...]:
        """Learn a text, then name the nodes of its `n_most` rarest words, the rarest first.

        Rarest is highest idf, log((1 + n_texts) / (1 + count)), so lowest count; equals in order of appearance.
        """
        words = words_of(text)
        if not words:
            return ()
        self.n_texts += 1
        counts = self.counts
        for word in words:
            count = counts.get(word, 0)
            if not count:
                self.n_bytes += n_bytes_of(word)
            counts[word] = count + 1
        rarest = sorted(words, key=counts.__getitem__)[:n_most]
        if len(counts) > self._max_words:
            self._forget()
        return tuple(map(word_name, rarest))

    def _forget(self) -> None:
        n_before = len(self.counts)
        n_kept = self._max_words - self._max_words // 8
        by_count = sorted(self.counts.values(), reverse=True)
        least = by_count[n_kept] if n_kept < len(by_count) else 0
        self.counts = {word: count for word, count in self.counts.items() if count > least}
        self.n_forgotten += n_before - len(self.counts)
        self._weigh()

    def _weigh(self) -> None:
        self.n_bytes = sum(map(n_bytes_of, self.counts))

    def readable(self) -> dict[str, Any]:
        """JSON-able summary."""
        top = nsmallest(N_TOP, self.counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return {
            "n_texts": self.n_texts,
            "n_words": len(self.counts),
            "n_forgotten": self.n_forgotten,
            "top": dict(top),
        }

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.n_texts, self.n_forgotten, self.counts]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n_texts, self.n_forgotten, self.counts = state
        self._weigh()
