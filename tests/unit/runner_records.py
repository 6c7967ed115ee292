"""Records for tests of the runner's parts."""

from streamer.ports import Record, TopicPartition

GOOD = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'
TP = TopicPartition("interactions", 0)


def record(
    offset: int, value: bytes | None = GOOD, topic: str = "interactions", key: bytes | None = None
) -> Record:
    """A record of partition 0."""
    return Record(topic, 0, offset, 0, key, value)
