"""Dead letters: what their headers say, and which of them may be sent to their topic once more.

A letter that was replayed and came back says in its headers which letter it was, and how often that was sent (its lineage). The
replay itself leaves a note on the topic of dead letters. So the topic remembers everything by itself, and nothing can go round
in a loop.

    letter 0:7  --replay-->  message, attempt 1   --still bad-->  letter 0:9, of 0:7, attempt 1
                \\-> note 0:8, of 0:7, attempt 1
"""

import re
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from streamer.errors import InvalidEvent
from streamer.ports import Record

LOG_MS = "streamer-dlq-log-ms"
PARTITION, OFFSET, ATTEMPT = "streamer-dlq-partition", "streamer-dlq-offset", "streamer-dlq-attempt"
NOTE = "streamer-dlq-replayed"
MAX_ATTEMPTS = 3
_NUMBER = re.compile(rb"[0-9]{1,18}")

Headers = dict[str, bytes]


class Place(NamedTuple):
    """Where a letter lies on the topic of dead letters."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Origin(NamedTuple):
    """Where the message lay that a letter is about."""

    topic: str
    partition: int
    offset: int


class Lineage(NamedTuple):
    """What a replayed message carries: the letter it was, and how often that, and what it was before, has been sent."""

    letter: Place
    attempt: int  # from 1

    def headers(self) -> Headers:
        """As they go with the message."""
        numbers = {PARTITION: self.letter.partition, OFFSET: self.letter.offset, ATTEMPT: self.attempt}
        return {name: b"%d" % number for name, number in numbers.items()}


class Letter(NamedTuple):
    """One dead letter."""

    place: Place
    timestamp_ms: int  # when it became one, epoch milliseconds; -1 = unknown
    key: bytes | None
    value: bytes | None
    origin: Origin | None  # None: its headers do not say
    reason: str
    path: str
    detail: str
    log_ms: int  # when its message first came to the log, epoch milliseconds; -1 = unknown. At the latest, in older letters
    is_cut: bool  # it was too large for Kafka with its headers, and lacks its end
    lineage: Lineage | None  # None: it was never replayed

    @property
    def n_sent(self) -> int:
        """How often it had been replayed before it became this letter."""
        return self.lineage.attempt if self.lineage is not None else 0


def letter_headers(record: Record, error: InvalidEvent) -> Headers:
    """What the letter of a message says: where it lay, what is wrong with it, and its lineage if it was replayed."""
    about = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "reason": error.reason,
        "path": error.path,
        "detail": error.detail,
    }
    # A path may quote a field name of the message, and that may be half a surrogate pair.
    headers = {name: text.encode("utf-8", "backslashreplace") for name, text in about.items()}
    headers |= _log_ms_header(log_ms_of(record))
    lineage = lineage_of(record)
    return headers if lineage is None else {**headers, **lineage.headers()}


def replay_headers(letter: Letter, attempt: int) -> Headers:
    """What a letter carries on its way back: its lineage, and when its message first came to the log."""
    return Lineage(letter.place, attempt).headers() | _log_ms_header(letter.log_ms)


def log_ms_of(record: Record) -> int:
    """When a message, or the one that it replays, came to the log: by its own time, epoch milliseconds; -1 = unknown.

    Whoever writes messages may write any header, so it can make a message older than it is, and never newer.
    """
    first_ms = _number(dict(record.headers).get(LOG_MS)) if record.headers else None
    return record.timestamp_ms if first_ms is None else min(first_ms, record.timestamp_ms)


def lineage_of(record: Record) -> Lineage | None:
    """The lineage of a message; None where it has none, or one that we did not write."""
    headers = dict(record.headers)
    partition, offset, attempt = (_number(headers.get(name)) for name in (PARTITION, OFFSET, ATTEMPT))
    if partition is None or offset is None or attempt is None or not 1 <= attempt <= MAX_ATTEMPTS:
        return None
    return Lineage(Place(partition, offset), attempt)


def letter_of(record: Record) -> Letter | None:
    """The letter that a record on the topic of dead letters is; None where it is the note of a replay."""
    headers = dict(record.headers)
    if NOTE in headers:
        return None
    reason, path, detail = (_text(headers.get(name)) for name in ("reason", "path", "detail"))
    return Letter(
        Place(record.partition, record.offset),
        record.timestamp_ms,
        record.key,
        record.value,
        _origin(headers),
        reason or "unknown",
        path,
        detail,
        log_ms_of(record),
        "cut_to_bytes" in headers,
        lineage_of(record),
    )


def note_headers(letter: Letter, attempt: int) -> Headers:
    """Headers of the note that a letter was sent."""
    origin = letter.origin
    about = {} if origin is None else {name: str(of).encode() for name, of in origin._asdict().items()}
    return {**about, **Lineage(letter.place, attempt).headers(), NOTE: b"1"}


class Replays:
    """What was replayed before, and what of it came back: made of every record on the topic of dead letters.

    As large as there were replays, however many letters there are.
    """

    def __init__(self) -> None:
        self._n_sent: Counter[Origin] = Counter()  # by origin: a letter may lie on the topic twice
        self._was_sent: set[Place] = set()
        self._came_back: dict[Place, Place] = {}

    def take(self, record: Record) -> None:
        """The next record, letter or note."""
        headers, lineage = dict(record.headers), lineage_of(record)
        if lineage is None:
            return
        if NOTE not in headers:
            self._came_back[lineage.letter] = Place(record.partition, record.offset)
            return
        self._was_sent.add(lineage.letter)
        if (origin := _origin(headers)) is not None:
            self._n_sent[origin] += 1

    def sent(self, letter: Letter) -> None:
        """It was sent just now."""
        self._was_sent.add(letter.place)
        if letter.origin is not None:
            self._n_sent[letter.origin] += 1

    def n_sent(self, letter: Letter) -> int:
        """How often this letter was sent since it became one."""
        return self._n_sent[letter.origin] if letter.origin is not None else 0

    def next_attempt(self, letter: Letter) -> int:
        """The number of the attempt that would come now, from 1."""
        return letter.n_sent + self.n_sent(letter) + 1

    def became(self, letter: Letter) -> str:
        """What became of this letter: "came back as 0:9", "replayed", or "" where it is open."""
        newer = self._came_back.get(letter.place)
        if newer is not None and letter.place in self._was_sent:
            return f"came back as {newer}"
        return "replayed" if self.n_sent(letter) else ""

    def why_not(
        self, letter: Letter, topics: Collection[str], *, is_repaired: bool, again: bool
    ) -> str | None:
        """Why this letter is not sent, as the end of "letter 0:7: ..."; None when it is.

        Args:
            topics: Those that we read.
            is_repaired: Its value is replaced.
            again: Send it although it was sent before.
        """
        if letter.origin is None or letter.origin.topic not in topics:
            return "its headers name no topic of ours that it came from"
        if letter.is_cut and not is_repaired:
            return "it was cut, since it was too large for Kafka; give its whole value with --value, and a key with --key"
        newer = self._came_back.get(letter.place)
        # whoever writes messages may write any lineage: what came back counts where we have sent something
        if newer is not None and letter.place in self._was_sent:
            return f"it was replayed and came back as {newer}; see to that one"
        if self.next_attempt(letter) > MAX_ATTEMPTS:
            return f"it was replayed {MAX_ATTEMPTS} times; repair it, and send it with `streamer produce`, which checks it"
        if self.n_sent(letter) and not again:
            return "it was replayed, and did not come back; --again sends it once more"
        return None


def _log_ms_header(log_ms: int) -> Headers:
    return {LOG_MS: b"%d" % log_ms} if log_ms >= 0 else {}


def _origin(headers: dict[str, bytes | None]) -> Origin | None:
    topic = _text(headers.get("topic"))
    partition, offset = _number(headers.get("partition")), _number(headers.get("offset"))
    if not topic or partition is None or offset is None:
        return None
    return Origin(topic, partition, offset)


def _number(header: bytes | None) -> int | None:
    return int(header) if header is not None and _NUMBER.fullmatch(header) else None


def _text(header: bytes | None) -> str:
    return (header or b"").decode("utf-8", "backslashreplace")
