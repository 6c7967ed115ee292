"""What `streamer check` says about things that work and will hurt later: one sentence for each, none where all is well."""

import pytest

from streamer.adapters.kafka import Keeping
from streamer.adapters.kafka.partitioner import JAVA, LIBRDKAFKA, partition_of
from streamer.adapters.redis.server import ServerFacts
from streamer.cli import cautions
from streamer.config import Settings
from streamer.ports import Record, TopicPartition

DAY_MS = 86_400_000
LOG = Keeping(
    is_compacted=False,
    is_deleted=True,
    retention_ms=-1,
    retention_bytes=-1,
    null_values_ms=DAY_MS,
    is_dated_by_log=True,
)
TABLE = Keeping(
    is_compacted=True,
    is_deleted=False,
    retention_ms=7 * DAY_MS,  # Kafka's default, which nothing follows where nothing is deleted
    retention_bytes=-1,
    null_values_ms=cautions.NULL_VALUES_MS,
    is_dated_by_log=True,
)
WELL = {
    "interactions": LOG,
    "catalog": TABLE._replace(is_dated_by_log=False),
    "profiles": TABLE,
    "texts": TABLE._replace(null_values_ms=DAY_MS, is_dated_by_log=False),
    "dead-letters": LOG._replace(retention_ms=30 * DAY_MS, is_dated_by_log=False),
}
SETTINGS = Settings(max_users=1000, max_items=100)
TP = TopicPartition("interactions", 0)


def test_topics_as_the_readme_makes_them_are_well() -> None:
    """Events for ever, the rest compacted, null values for longer than anybody lives; of texts they may go at once. What is
    compared with erasures has the log's time."""
    assert list(cautions.of_topics(WELL, SETTINGS)) == []
    assert list(cautions.of_topics({}, SETTINGS)) == []  # nobody told us


@pytest.mark.parametrize(
    ("topic", "change", "words"),
    [
        (
            "interactions",
            {"is_compacted": True, "is_deleted": False},
            "all but the newest event of each user",
        ),
        ("interactions", {"retention_ms": 7 * DAY_MS}, "keeps 7 days of messages"),
        ("interactions", {"retention_bytes": 5_000_000}, "keeps 5 MB a partition"),
        ("catalog", {"is_deleted": True}, "items that nobody wrote again since are lost"),
        ("profiles", {"is_compacted": False, "is_deleted": True}, "set its cleanup.policy to compact"),
        ("texts", {"is_deleted": True}, "vectors of texts"),
        ("profiles", {"null_values_ms": DAY_MS}, "brings erased users back; set its delete.retention.ms"),
        ("catalog", {"null_values_ms": DAY_MS}, "brings retired items back"),
        ("interactions", {"is_dated_by_log": False}, "set its message.timestamp.type to LogAppendTime"),
        ("dead-letters", {"is_compacted": True, "is_deleted": False}, "Kafka refuses letters without a key"),
        ("profiles", {"is_dated_by_log": False}, "set its message.timestamp.type to LogAppendTime"),
    ],
)
def test_a_topic_that_loses_what_a_rebuild_needs(topic: str, change: dict[str, object], words: str) -> None:
    """One sentence that names the topic, and nothing about the others."""
    (sentence,) = cautions.of_topics({**WELL, topic: WELL[topic]._replace(**change)}, SETTINGS)
    assert f"topic {topic} " in sentence
    assert words in sentence


def test_null_values_must_outlive_the_events() -> None:
    """Where events go after a week, null values of eight days are enough."""
    kept = {
        "interactions": LOG._replace(retention_ms=7 * DAY_MS),
        "profiles": TABLE._replace(null_values_ms=8 * DAY_MS),
    }
    assert not [told for told in cautions.of_topics(kept, SETTINGS) if "null values" in told]
    kept["profiles"] = TABLE._replace(null_values_ms=6 * DAY_MS)
    assert [told for told in cautions.of_topics(kept, SETTINGS) if "null values" in told]


def test_events_that_are_gone_already() -> None:
    """The first partition that begins late, and how many more; a compacted topic begins where it likes."""
    assert list(cautions.of_log({TP: 0, TopicPartition("catalog", 0): 9}, SETTINGS)) == []
    (sentence,) = cautions.of_log({TP: 4, TopicPartition("interactions", 1): 7}, SETTINGS)
    assert sentence.startswith("interactions[0] begins at offset 4, and 1 more partitions")


def placed(partitioner: str, topic: str = "profiles", n_partitions: int = 4) -> list[Record]:
    """Messages under forty keys and one without, where this partitioner puts them."""
    keys = [*(f"u{n}".encode() for n in range(40)), None]
    places = [partition_of(key or b"", n_partitions, partitioner) or 0 for key in keys]
    return [
        Record(topic, place, n, -1, key, b"") for n, (place, key) in enumerate(zip(places, keys, strict=True))
    ]


def test_keys_that_lie_elsewhere() -> None:
    """Told once a topic, with the setting that mends it; producers that differ among themselves have to be set themselves."""
    n_partitions = {"profiles": 4, "interactions": 4}
    assert list(cautions.of_keys([], n_partitions, SETTINGS)) == []
    assert list(cautions.of_keys(placed(JAVA), n_partitions, SETTINGS)) == []
    (sentence,) = cautions.of_keys(
        [*placed(LIBRDKAFKA), *placed(JAVA, "interactions")], n_partitions, SETTINGS
    )
    assert sentence.startswith("topic profiles: ")
    assert "of the newest 40 messages" in sentence
    assert f"--set kafka_config.partitioner={LIBRDKAFKA}" in sentence
    (sentence,) = cautions.of_keys([*placed(LIBRDKAFKA), *placed(JAVA)], n_partitions, SETTINGS)
    assert f"set partitioner={JAVA} in all of them" in sentence


def test_the_partitioner_that_is_set_is_ours() -> None:
    """Then Java's keys are the strays; where a key alone does not decide, nothing is said."""
    for name, expected in ((LIBRDKAFKA, JAVA), ("random", None)):
        settings = Settings(kafka_config={"partitioner": name})
        told = list(cautions.of_keys(placed(JAVA), {"profiles": 4}, settings))
        assert [f"partitioner={expected}" in sentence for sentence in told] == [True] * (expected is not None)


def test_a_hostile_key_is_shown_harmless() -> None:
    """Neither escapes nor lines of its own, and not the whole of it."""
    key = b"\x1b[2J\n\xff" + b"x" * 9_000
    elsewhere = ((partition_of(key, 4, JAVA) or 0) + 1) % 4
    (sentence,) = cautions.of_keys(
        [Record("profiles", elsewhere, 0, -1, key, b"")], {"profiles": 4}, SETTINGS
    )
    assert sentence.isprintable()
    assert len(sentence) < 600


def test_a_redis_that_is_well() -> None:
    """Without a limit it evicts nothing, whatever its policy; with one that is large enough and `noeviction`, too."""
    assert list(cautions.of_redis(ServerFacts(0, "allkeys-lru", 0), SETTINGS, 0)) == []
    assert list(cautions.of_redis(ServerFacts(10**10, "noeviction", 9_000, 10**8, (6, 2)), SETTINGS, 0)) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (ServerFacts(10**10, "allkeys-lru", 0), "throws any key away when its 10.0 GB are full"),
        (ServerFacts(10**10, "volatile-ttl", 0), "throws lists and vectors away"),
        (ServerFacts(10**8, "noeviction", 0), "may hold 100 MB"),
        (ServerFacts(0, "noeviction", 0, 10**8), "100 MB (memory of its machine)"),
        (ServerFacts(0, "noeviction", 0, 10**10, (6, 0)), "Redis is version 6.0"),
        (ServerFacts(0, "noeviction", 61_000), "61 s ahead of ours"),
        (ServerFacts(0, "noeviction", -61_000), "61 s behind ours"),
    ],
)
def test_a_redis_that_forgets_is_small_or_late(facts: ServerFacts, words: str) -> None:
    """Each fault of a server gets one sentence of its own."""
    (sentence,) = cautions.of_redis(facts, SETTINGS, 0)
    assert words in sentence


def test_a_node_of_a_cluster_need_not_hold_all() -> None:
    """How many share the keys is not known here: nothing is said of the size, and what it throws away is told still."""
    settings = SETTINGS.model_copy(update={"redis_cluster": True})
    assert list(cautions.of_redis(ServerFacts(10**8, "noeviction", 0), settings, 0)) == []
    assert len(list(cautions.of_redis(ServerFacts(10**8, "allkeys-lru", 0), settings, 0))) == 1


def test_what_redis_would_hold() -> None:
    """By hand: 1,000 users x (150 + 20 x 70 + 500) + 100 items x (900 + 500) + 3 checkpoints of 256 MiB; less without parts."""
    lists, items, checkpoints = 1000 * 2050, 100 * 1400, 3 * 2**28
    assert cautions.redis_bytes(SETTINGS) == lists + items + checkpoints
    lean = Settings(
        max_users=1000, max_items=100, text_model="none", without=("vectors",), checkpoint_url="/x"
    )
    assert cautions.redis_bytes(lean) == 1000 * 1550


def test_tables_beyond_the_machine() -> None:
    """At their caps they must fit, with a copy of them and the text model, where there are such."""
    assert list(cautions.of_memory(10**9, 4 * 10**9, SETTINGS)) == []
    (sentence,) = cautions.of_memory(10**9, 3 * 10**9, SETTINGS)
    assert "takes some 3.5 GB (tables of 1.0 GB, a copy of them for checkpoints, the text model)" in sentence
    assert "there are 3.0 GB" in sentence
    lean = Settings(text_model="none", checkpoint_interval_s=0)
    assert list(cautions.of_memory(10**9, 2 * 10**9, lean)) == []
    assert len(list(cautions.of_memory(2 * 10**9, 2 * 10**9, lean))) == 1


def test_a_start_that_takes_long() -> None:
    """Without a checkpoint the log is folded from its beginning; a short one is no news."""
    assert list(cautions.of_no_checkpoint({TP: 900_000}, {TP: 990_000})) == []
    (sentence,) = cautions.of_no_checkpoint({TP: 1}, {TP: 500_001})
    assert "a start folds 500,000 messages" in sentence


def test_a_checkpoint_that_grows_out_of_redis() -> None:
    """Told from half the size on that Redis takes; a directory takes any."""
    assert list(cautions.of_size("c", 2**27, SETTINGS)) == []
    (sentence,) = cautions.of_size("c", 2**27 + 1, SETTINGS)
    assert "set checkpoint_url" in sentence
    elsewhere = SETTINGS.model_copy(update={"checkpoint_url": "/x"})
    assert list(cautions.of_size("c", 2**40, elsewhere)) == []


@pytest.mark.parametrize(
    ("position", "bounds", "words"),
    [
        (5, ({TP: 0}, {TP: 5}), ""),
        (5, ({TP: 5}, {TP: 9}), ""),
        (5, ({TP: 0}, {TP: 4}), "interactions[0]@5, and the log ends at 4"),
        (5, ({}, {}), "interactions[0]@5, and that is not read now"),
        (5, ({TP: 8}, {TP: 9}), "the log begins at 8: 3 messages in between are lost"),
    ],
)
def test_a_checkpoint_and_its_log(
    position: int, bounds: tuple[dict[TopicPartition, int], dict[TopicPartition, int]], words: str
) -> None:
    """It must lie within the log, or at its end."""
    told = list(cautions.of_checkpoint("c", {TP: position}, *bounds))
    assert len(told) == (words != "")
    assert all(words in sentence for sentence in told)
