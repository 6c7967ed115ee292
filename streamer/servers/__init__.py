"""A Kafka and a Redis that live and die with this process: for the demo, the tests and the bench, never for production.

Both listen on the loopback interface only and keep nothing once closed.

kafka    the mock cluster of librdkafka, inside this process
redis    a server of its own
process  what both are: closed where `with` ends; what keeps a process from outliving us, and a port for it
"""

from streamer.servers.kafka import READER_SETTINGS, EmbeddedKafka
from streamer.servers.redis import EmbeddedRedis, find_redis_server

__all__ = ["READER_SETTINGS", "EmbeddedKafka", "EmbeddedRedis", "find_redis_server"]
