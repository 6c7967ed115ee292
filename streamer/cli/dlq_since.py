"""What came to the log after the messages of dead letters: tombstones of users, and newer records under the same id."""

from collections.abc import Collection
from typing import NamedTuple

from streamer.cli.log_reading import records_until
from streamer.config import Settings
from streamer.erased import ErasedUsers
from streamer.errors import InvalidEvent
from streamer.events import (
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Kind,
    Profile,
    TextDropped,
    TextEmbedded,
    UserErased,
    decode,
    id_problem,
)
from streamer.letters import log_ms_of
from streamer.ports import Source


class Named(NamedTuple):
    """Whom a message is about."""

    kind: Kind
    id: str  # of the item on the catalog, of the user elsewhere


class Since:
    """Decides whether a message would undo what the log says since it came there.

    Args:
        erased: Users by their tombstones that are still on the log.
        newest_ms: Log time of the newest record of an item or a profile that can be used, epoch milliseconds.
    """

    def __init__(self, erased: ErasedUsers, newest_ms: dict[Named, int]) -> None:
        self._erased = erased
        self._newest_ms = newest_ms

    def is_erased(self, named: Named, log_ms: int) -> bool:
        """Whether this user was erased in or after that millisecond of the log."""
        return named.kind in ("interactions", "profiles") and self._erased.covers(named.id, log_ms)

    def is_outdated(self, named: Named, log_ms: int) -> bool:
        """Whether a newer record of this item or profile is on the log: its last one counts, and a replay would be the last."""
        return 0 <= log_ms < self._newest_ms.get(named, -1)


def read_since(settings: Settings, source: Source, wanted: Collection[Named]) -> Since:
    """Read the catalog and the profiles to their end.

    Args:
        source: Reads both topics.
        wanted: Whom the letters are about: of others only tombstones of users are kept.
    """
    erased, newest_ms, kinds = ErasedUsers(settings.max_erased), dict[Named, int](), settings.kinds()
    wanted = frozenset(wanted)
    for record in records_until(source, source.end_offsets()):
        kind, log_ms = kinds[record.topic], log_ms_of(record)
        event = read(kind, record.key, record.value)
        if isinstance(event, UserErased):
            erased.note(event.user_id, record.timestamp_ms)
        named = named_by(kind, record.key, event)
        # what no worker could use has replaced nothing
        if named in wanted and not isinstance(event, InvalidEvent):
            newest_ms[named] = max(newest_ms.get(named, -1), log_ms)
    return Since(erased, newest_ms)


def read(kind: Kind, key: bytes | None, value: bytes | None) -> Event | InvalidEvent:
    """What a worker makes of a message."""
    try:
        return decode(kind, key, value)
    except InvalidEvent as exc:
        return exc


def named_by(kind: Kind, key: bytes | None, event: Event | InvalidEvent) -> Named | None:
    """Whom a message is about: by what it says, and by its key where it says nothing; None: neither names anybody."""
    if isinstance(event, Interaction | Profile | UserErased):
        return Named(kind, event.user_id)
    if isinstance(event, CatalogItem | ItemRetired):
        return Named(kind, event.item_id)
    if isinstance(event, TextEmbedded | TextDropped) or key is None:
        return None
    by_key = key.decode("utf-8", "replace")
    return Named(kind, by_key) if id_problem(by_key) is None else None
