"""The log on Kafka, by confluent-kafka (librdkafka).

source      reads all partitions of the topics, from the oldest record, without rebalancing
sink        idempotent, compressed, batched for a few milliseconds
committer   commits on a client of its own
connection  what they share: settings, the last error, and how to tell of it
records     messages of the client -> records
"""

from streamer.adapters.kafka.records import headers
from streamer.adapters.kafka.sink import KafkaSink
from streamer.adapters.kafka.source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource", "headers"]
