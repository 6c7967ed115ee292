"""What works now and will hurt later: sentences about what servers say of themselves. Pure: facts in, sentences out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streamer.adapters.kafka import KEPT_FOR_EVER, Keeping
from streamer.adapters.kafka.partitioner import JAVA, LIBRDKAFKA, partition_of
from streamer.adapters.redis.checkpoints import MAX_BYTES
from streamer.adapters.redis.server import ServerFacts
from streamer.config import Settings
from streamer.ports import Record, TopicPartition, place

# A hundred years: Kafka adds it to the time of day, so the largest number there is would overflow.
NULL_VALUES_MS: Final = 3_153_600_000_000
MAX_SKEW_MS: Final = 10_000  # between two clocks that are set by the network
_MOST_SHOWN = 40  # bytes of a key
_OLDEST_REDIS = (6, 2)  # XTRIM MINID, GETEX
_LONG_START = 100_000  # messages of the log that a start folds before it publishes anything: a minute or so
# Of the worker's memory beside its tables.
_BYTES_A_PROCESS = 500_000_000
_BYTES_OF_TEXTS = 1_000_000_000  # the process with the text model

# Of Redis' memory, measured with MEMORY USAGE on ids of 10 bytes.
_BYTES_A_PLACE = 70  # on a list
_BYTES_A_LIST = 150  # beside its places
_BYTES_A_VECTOR = 500
_BYTES_A_TEXT = 900  # those of texts that were edited since come on top for a month: nobody knows how many

_KEYED = {"catalog": "items", "profiles": "profiles", "texts": "vectors of texts"}


def of_topics(kept: Mapping[str, Keeping], settings: Settings) -> Iterator[str]:
    """Topics that lose what a rebuild from nothing needs, or do not say what came after a user was erased.

    Args:
        kept: Topic -> how Kafka keeps it; those that are left out are passed over.
    """
    interactions = settings.topic_interactions
    events = kept.get(interactions)
    if events is not None and events.is_compacted:
        yield (
            f"topic {interactions} is compacted, so Kafka drops all but the newest event of each user: "
            "set its cleanup.policy to delete"
        )
    if events is not None and (limit := _limit(events)):
        yield (
            f"topic {interactions} keeps {limit}: a start without a checkpoint, or after a change of the model's settings, "
            "knows nothing older; set its retention.ms and retention.bytes to -1"
        )
    letters = kept.get(settings.topic_dead_letters)
    if letters is not None and letters.is_compacted:
        yield (
            f"topic {settings.topic_dead_letters} is compacted: Kafka refuses letters without a key, so the worker would "
            "wait for ever, and drops all but the newest of each key; set its cleanup.policy to delete"
        )
    for topic in (interactions, settings.topic_profiles):
        if topic in kept and not kept[topic].is_dated_by_log:
            yield (
                f"topic {topic} has the times of its producers: where their clocks differ, what a user did just before he was "
                "erased may seem to be later, and a rebuild learns it again; set its message.timestamp.type to LogAppendTime"
            )
    for topic, kind in settings.kinds().items():
        keeping = kept.get(topic)
        if keeping is None or topic == interactions:
            continue
        if limit := _limit(keeping):
            yield (
                f"topic {topic} keeps {limit}: {_KEYED[kind]} that nobody wrote again since are lost to a rebuild; set its "
                "cleanup.policy to compact"
            )
        if kind != "texts" and _forgets_null_values(keeping, events):
            what = "retired items" if kind == "catalog" else "erased users"
            yield (
                f"topic {topic} drops null values after {_days(keeping.null_values_ms)}, and {interactions} keeps events for "
                f"longer: a rebuild from nothing brings {what} back; set its delete.retention.ms to {NULL_VALUES_MS}"
            )


def _limit(keeping: Keeping) -> str:
    """What makes a topic drop messages that count, "" where nothing does."""
    if not keeping.is_deleted:
        return ""
    if keeping.retention_ms != KEPT_FOR_EVER:
        return f"{_days(keeping.retention_ms)} of messages"
    if keeping.retention_bytes != KEPT_FOR_EVER:
        return f"{_size(keeping.retention_bytes)} a partition"
    return ""


def _forgets_null_values(keeping: Keeping, events: Keeping | None) -> bool:
    if not keeping.is_compacted or events is None:
        return False
    is_for_ever = not events.is_deleted or events.retention_ms == KEPT_FOR_EVER
    return keeping.null_values_ms < (NULL_VALUES_MS if is_for_ever else events.retention_ms)


def of_log(begin: Mapping[TopicPartition, int], settings: Settings) -> Iterator[str]:
    """Interactions that are gone already.

    Args:
        begin: Offset of the oldest record of each partition.
    """
    lost = {tp: offset for tp, offset in begin.items() if tp.topic == settings.topic_interactions and offset}
    if lost:
        tp = min(lost)
        more = f", and {len(lost) - 1} more partitions begin late" if len(lost) > 1 else ""
        yield (
            f"{tp.topic}[{tp.partition}] begins at offset {lost[tp]}{more}: what lay before is gone, and a rebuild from "
            "nothing does not know it"
        )


def of_keys(records: Iterable[Record], n_partitions: Mapping[str, int], settings: Settings) -> Iterator[str]:
    """Keys in other partitions than those that our own messages under them go to, null values above all.

    Args:
        records: The newest ones of topics that have keys.
        n_partitions: Topic -> its partitions.
    """
    ours = settings.kafka_config.get("partitioner", JAVA)
    keyed = [record for record in records if record.key]
    for topic in sorted({record.topic for record in keyed}):
        of_topic = [record for record in keyed if record.topic == topic]
        strays = _strays(of_topic, n_partitions[topic], ours)
        if not strays:
            continue
        stray, there = strays[0], partition_of(strays[0].key or b"", n_partitions[topic], ours)
        theirs = JAVA if ours in _OF_LIBRDKAFKA else LIBRDKAFKA
        why = (
            f"their producer has partitioner={theirs}: set ours to it, --set kafka_config.partitioner={theirs}"
            if not _strays(of_topic, n_partitions[topic], theirs)
            else f"producers have different partitioners, or partitions were added: set partitioner={ours} in all of them"
        )
        yield (
            f"topic {topic}: {len(strays)} of the newest {len(of_topic)} messages lie where our messages under the same key do "
            f"not go ({_shown(stray.key)} in partition {stray.partition}, ours in {there}), so an erasure or a retirement may be "
            f"read before what it ends; {why}"
        )


_OF_LIBRDKAFKA = ("consistent", LIBRDKAFKA)


def _strays(records: Iterable[Record], n_partitions: int, partitioner: str) -> list[Record]:
    """Those that lie elsewhere than this partitioner would have sent them."""
    return [
        record
        for record in records
        if partition_of(record.key or b"", n_partitions, partitioner) not in (None, record.partition)
    ]


def _shown(key: bytes | None) -> str:
    """A key as a terminal may show it."""
    return ascii((key or b"")[:_MOST_SHOWN].decode(errors="replace"))


def of_redis(facts: ServerFacts, settings: Settings, now_ms: int) -> Iterator[str]:
    """A Redis that forgets what it was given, is too small, or has another clock.

    Args:
        now_ms: Our clock, epoch milliseconds.
    """
    if facts.max_bytes:
        full = f"when its {_size(facts.max_bytes)} are full (maxmemory-policy {facts.eviction})"
        if facts.eviction.startswith("allkeys"):
            yield f"Redis throws any key away {full}, checkpoints and marks of retired items too: set noeviction"
        elif facts.eviction.startswith("volatile"):
            yield (
                f"Redis throws lists and vectors away {full}, and nobody is told: their users get the anonymous list; "
                "with noeviction the worker waits and says so"
            )
    room, of_what = (
        (facts.max_bytes, "maxmemory") if facts.max_bytes else (facts.system_bytes, "memory of its machine")
    )
    needed = redis_bytes(settings)
    # of a cluster this is one node, of who knows how many
    if 0 < room < needed and not settings.redis_cluster:
        yield (
            f"Redis may hold {_size(room)} ({of_what}); with max_users and max_items all in use it would hold some "
            f"{_size(needed)}, and a full Redis makes the worker wait: give it more, or lower max_users, k or list_ttl_s"
        )
    if facts.version and facts.version < _OLDEST_REDIS:
        version, oldest = (".".join(map(str, v)) for v in (facts.version, _OLDEST_REDIS))
        yield f"Redis is version {version}, and checkpoints and texts need commands of {oldest}: take that or newer"
    ahead_ms = facts.now_ms - now_ms
    if abs(ahead_ms) > MAX_SKEW_MS:
        which = "ahead of" if ahead_ms > 0 else "behind"
        yield (
            f"the clock of Redis is {abs(ahead_ms) / 1000:,.0f} s {which} ours: one of them is wrong. A producer whose clock is "
            f"more than max_skew_s = {settings.max_skew_s} ahead of Kafka's gets dead letters"
        )


def redis_bytes(settings: Settings) -> int:
    """Estimate of what Redis holds with every table at its cap, bytes."""
    a_user = _BYTES_A_LIST + settings.k * _BYTES_A_PLACE
    an_item = _BYTES_A_TEXT if settings.has_texts() else 0
    if "vectors" not in settings.without and settings.vectors_per_s:
        a_user += _BYTES_A_VECTOR
        an_item += _BYTES_A_VECTOR
    total = settings.max_users * a_user + settings.max_items * an_item
    if settings.checkpoint_url is None and settings.checkpoint_interval_s:
        # the next one is written before the oldest goes
        total += (settings.checkpoint_keep + 1) * MAX_BYTES
    return total


def of_memory(table_bytes: int, machine_bytes: int, settings: Settings) -> Iterator[str]:
    """A worker that may outgrow the machine.

    Args:
        table_bytes: Of all tables at their caps.
        machine_bytes: Memory of this machine, or of its container.
    """
    needed, parts = table_bytes + _BYTES_A_PROCESS, [f"tables of {_size(table_bytes)}"]
    if settings.checkpoint_interval_s:
        needed += table_bytes
        parts.append("a copy of them for checkpoints")
    if settings.has_texts():
        needed += _BYTES_OF_TEXTS
        parts.append("the text model")
    if needed > machine_bytes:
        yield (
            f"with every table at its cap the worker takes some {_size(needed)} ({', '.join(parts)}), and there are "
            f"{_size(machine_bytes)}: lower max_users, max_items or max_taken"
        )


def of_no_checkpoint(begin: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int]) -> Iterator[str]:
    """A start that folds a long log.

    Args:
        begin, end: Partition -> where the log begins and ends.
    """
    n_messages = sum(offset - begin.get(tp, 0) for tp, offset in end.items())
    if n_messages >= _LONG_START:
        yield (
            f"there is no checkpoint: a start folds {n_messages:,} messages from the beginning of the log before it publishes. "
            "Were there some under another checkpoint_url, prefix or redis?"
        )


def of_size(name: str, n_bytes: int, settings: Settings) -> Iterator[str]:
    """A checkpoint that will be too large for Redis.

    Args:
        name: Of the newest one.
        n_bytes: Its size.
    """
    if settings.checkpoint_url is None and n_bytes > MAX_BYTES // 2:
        yield (
            f"checkpoint {name} has {_size(n_bytes)}, and Redis takes no more than {_size(MAX_BYTES)}: set checkpoint_url to a "
            "directory or a bucket before they are refused"
        )


def of_checkpoint(
    name: str,
    positions: Mapping[TopicPartition, int],
    begin: Mapping[TopicPartition, int],
    end: Mapping[TopicPartition, int],
) -> Iterator[str]:
    """A checkpoint that does not fit the log.

    Args:
        name: Of the newest one.
        positions: Partition -> next offset, as it has them.
        begin, end: Partition -> where the log begins and ends.
    """
    for tp, offset in sorted(positions.items()):
        if offset > end.get(tp, 0):
            there = f"the log ends at {end[tp]}" if tp in end else "that is not read now"
            yield (
                f"checkpoint {name} is of another log: it stands at {place(*tp, offset)}, and {there}; a start "
                "folds the log from its beginning. Was the topic made anew, or the prefix used for another one?"
            )
            return
        if offset < begin.get(tp, 0):
            yield (
                f"checkpoint {name} stands at {place(*tp, offset)}, and the log begins at {begin[tp]}: "
                f"{begin[tp] - offset} messages in between are lost"
            )
            return


def _days(duration_ms: int) -> str:
    return f"{duration_ms / 86_400_000:,.3g} days"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.0f} MB"
