"""The log on Kafka, by confluent-kafka (librdkafka).

source      reads all partitions of the topics, from the oldest record, without rebalancing
sink        idempotent, compressed, batched for a few milliseconds
committer   commits on a client of its own
connection  what they share: settings, the last error, and how to tell of it
records     messages of the client -> records
topics      how Kafka keeps topics
partitioner which partition a key goes to
"""

from streamer.adapters.kafka.records import headers
from streamer.adapters.kafka.sink import KafkaSink
from streamer.adapters.kafka.source import KafkaSource
from streamer.adapters.kafka.topics import KEPT_FOR_EVER, Keeping, how_kept

__all__ = ["KEPT_FOR_EVER", "KafkaSink", "KafkaSource", "Keeping", "headers", "how_kept"]
