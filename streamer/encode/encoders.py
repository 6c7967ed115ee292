"""Running encoders: catalog items, profiles and contexts -> names of feature nodes, and numbers for the ranker."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import xxhash

from streamer.encode.drift import Drift
from streamer.encode.fields import Fields
from streamer.encode.names import CONTEXT
from streamer.encode.words import Words
from streamer.events import CatalogItem, Profile

N_NUMBERS = 2
"""Standardised numbers kept an item: of the first numerical fields that the catalog ever showed."""
N_CATEGORIES = 8
N_BINS_KEPT = 4
N_WORDS = 12
N_PROFILE = 6  # as many as a user's row has places for
N_CONTEXT = 4
IGNORABLE = frozenset({"numerical", "categorical", "words", "context"})

_MAGIC = b"streamer-encoders-1\n"
_N_CHECK = 8


class Features(NamedTuple):
    """What an item is, for the graph, the paths and the ranker."""

    categories: tuple[str, ...]  # "category=Drama", at most 8
    bins: tuple[str, ...]  # "price#3" or "price#missing", at most 4
    words: tuple[str, ...]  # "word~hanging", at most 12, the rarest first
    numbers: tuple[float, ...]  # N_NUMBERS standardised values, -3 to 3; nan where missing


class Encoders:
    """Running encoder state. Each event is learned, then encoded: one pass, nothing is fitted beforehand.

    The state depends on the events and their order alone, never on how they were cut into batches. What counts is
    records: a catalog record sent again for the same item is one more. An item keeps the nodes of its last
    record, while quantiles move on.

    No table grows without bound: fields, values and words have caps, and `readable` says what was refused, pooled
    or forgotten.

    Args:
        max_fields: Fields kept of each kind of record (catalog, profiles, contexts).
        max_values: Values kept of one categorical field, words kept; the fields of a kind keep twice as many together.
        ignore: What to pass over, for the ablation: "numerical", "categorical" (these two in all kinds of records), "words",
            "context".

    Raises:
        ValueError: A cap below 1, or something to ignore that nobody knows.
    """

    def __init__(
        self, max_fields: int = 64, max_values: int = 100_000, ignore: frozenset[str] = frozenset()
    ) -> None:
        if max_fields < 1 or max_values < 1:
            raise ValueError(
                f"expected caps of at least 1, got max_fields={max_fields}, max_values={max_values}"
            )
        if not ignore <= IGNORABLE:
            unknown, known = sorted(ignore - IGNORABLE), sorted(IGNORABLE)
            raise ValueError(f"ignore: expected some of {', '.join(known)}; got {', '.join(unknown)}")
        self._arguments = (max_fields, max_values, ignore)
        self._ignore = ignore
        self._catalog = Fields("", max_fields, max_values, ignore)
        self._profiles = Fields("profile:", max_fields, max_values, ignore)
        self._contexts = Fields(CONTEXT, max_fields, max_values, ignore)
        self._words = Words(max_values)

    @property
    def arguments(self) -> tuple[int, int, frozenset[str]]:
        """What it was made with: caps, and what it passes over."""
        return self._arguments

    def item(self, event: CatalogItem) -> Features:
        """Learn from a catalog event, then encode it."""
        fields = self._catalog
        fields.learn(event.categorical, event.numerical)
        words: tuple[str, ...] = ()
        if "words" not in self._ignore:
            words = self._words.nodes(event.title if event.title.strip() else event.text, N_WORDS)
        return Features(
            fields.category_nodes(event.categorical, N_CATEGORIES),
            fields.bin_nodes(event.numerical, N_BINS_KEPT),
            words,
            fields.numbers(event.numerical, N_NUMBERS),
        )

    def profile(self, event: Profile) -> tuple[str, ...]:
        """Learn from a profile, then name its nodes: "profile:age=45-54", "profile:income#3"; at most 6."""
        fields = self._profiles
        fields.learn(event.categorical, event.numerical)
        categories = fields.category_nodes(event.categorical, N_PROFILE)
        bins = fields.bin_nodes(event.numerical, N_BINS_KEPT)
        return (*categories[: N_PROFILE - len(bins)], *bins)

    def context(self, fields: Mapping[str, str | float]) -> tuple[str, ...]:
        """Learn from the context of an interaction, then name its nodes: "context:device=mobile".

        Only the first 4 fields are looked at, and of these the first 2 that find a row are kept. Made for the hot path: a value
        costs a look-up, a number is mostly placed without being learned.
        """
        if not fields or "context" in self._ignore:
            return ()
        return self._contexts.quick_nodes(fields, N_CONTEXT)

    def take_drifts(self) -> list[Drift]:
        """Changes of distribution noticed since the last call, in catalog and profile fields; at most 256 of each."""
        drifts = [*self._catalog.changes, *self._profiles.changes]
        self._catalog.changes.clear()
        self._profiles.changes.clear()
        return drifts

    @property
    def n_fields_refused(self) -> int:
        """Times that a record had a field for which there was no room."""
        return sum(fields.n_refused for fields in (self._catalog, self._profiles, self._contexts))

    def n_bytes(self) -> int:
        """About how many bytes the state takes in memory."""
        kinds = (self._catalog, self._profiles, self._contexts)
        return sum(fields.n_bytes() for fields in kinds) + self._words.n_bytes

    def readable(self) -> dict[str, Any]:
        """JSON-able summary: of every field its statistics, of words the most common; no number that is not finite."""
        return {
            "version": 1,
            "catalog": self._catalog.readable(),
            "profiles": self._profiles.readable(),
            "contexts": self._contexts.readable(),
            "words": self._words.readable(),
            "n_bytes": self.n_bytes(),
        }

    def digest(self) -> bytes:
        """The whole state in canonical bytes: equal states have equal bytes. `from_bytes` reads them.

        Drifts not taken yet are no part of it: when they are taken is up to the shell.
        """
        return _MAGIC + _checked(msgspec.msgpack.encode(self._plain(), order="deterministic"))

    def freeze(self) -> bytes:
        """As `digest`, in a fraction of the time: equal states may give other bytes. `from_bytes` reads them."""
        return _MAGIC + _checked(msgspec.msgpack.encode(self._plain()))

    def _plain(self) -> list[Any]:
        max_fields, max_values, ignore = self._arguments
        return [
            [max_fields, max_values, sorted(ignore)],
            self._catalog.freeze(),
            self._profiles.freeze(),
            self._contexts.freeze(),
            self._words.freeze(),
        ]

    @classmethod
    def from_bytes(cls, state: bytes) -> "Encoders":
        """The encoders whose `digest` this is; they go on as if they had never stopped.

        Raises:
            ValueError: The bytes are not a digest of this version, or were damaged.
        """
        start = len(_MAGIC) + _N_CHECK
        payload = state[start:]
        if state[:start] != _MAGIC + xxhash.xxh3_64_digest(payload):
            raise ValueError(
                f"encoder state: expected {_MAGIC!r}, a checksum and what it sums up, got {len(state)} bytes that differ;"
                " load an older checkpoint"
            )
        try:
            (max_fields, max_values, ignore), *parts = msgspec.msgpack.decode(payload)
            encoders = cls(max_fields, max_values, frozenset(ignore))
            kinds: tuple[Any, ...] = (
                encoders._catalog,
                encoders._profiles,
                encoders._contexts,
                encoders._words,
            )
            for kind, part in zip(kinds, parts, strict=True):
                kind.thaw(part)
        except (TypeError, AttributeError, KeyError, IndexError, msgspec.DecodeError) as exc:
            raise ValueError(f"encoder state: it is not of our making: {exc}") from exc
        return encoders


def _checked(payload: bytes) -> bytes:
    return xxhash.xxh3_64_digest(payload) + payload
