"""What the fold leaves out: events that come twice, and what users did before they were erased."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import xxhash

from streamer.events import CatalogItem, Event, Interaction, Kind, Profile, UserErased
from streamer.pipeline.state import State
from streamer.window import hashes_of, recognise

# refused: a table had no room for its user or item; other_model: a text's vector, by a model that this fold does not read
Why = Literal["duplicate", "erased", "refused", "other_model"]
Skipped = Counter[tuple[Kind, Why]]


def to_be_folded(
    state: State, events: Sequence[Event], log_ms: Sequence[int] | None, skipped: Skipped
) -> Sequence[Event]:
    """The events of a batch without those interactions that were folded before, and what erased users did before.

    Args:
        state: Its window of event ids and its table of erased users are moved.
        log_ms: (n,) the log's own time of each event, epoch milliseconds, -1 where it has none. None: it has none at all.
        skipped: Counts those left out.

    Raises:
        ValueError: there are not as many times as events.
    """
    times = [-1] * len(events) if log_ms is None else log_ms
    if len(times) != len(events):
        raise ValueError(f"log_ms: expected {len(events)} times, one an event, got {len(times)}")
    # all at once: whether an id came before depends on the ids before it alone, not on what became of their events
    ids = [event.event_id if isinstance(event, Interaction) else "" for event in events]
    is_again = recognise(state.window, hashes_of(ids)) if any(ids) else np.zeros(len(ids), np.bool_)
    erased = state.erased
    if not (is_again.any() or erased.covers_any(times) or UserErased in set(map(type, events))):
        return events
    kept: list[Event] = []
    for event, at_ms, again in zip(events, times, is_again.tolist(), strict=True):
        if again:
            skipped["interactions", "duplicate"] += 1
        elif isinstance(event, Interaction | Profile) and erased.covers(event.user_id, at_ms):
            skipped["interactions" if isinstance(event, Interaction) else "profiles", "erased"] += 1
        else:
            if isinstance(event, UserErased):
                erased.note(event.user_id, at_ms)
            kept.append(event)
    return kept


def content_hash(event: CatalogItem | Profile) -> int:
    """Of all that a record says, its time included; never 0."""
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(event)) or 1
