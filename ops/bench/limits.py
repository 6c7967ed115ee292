"""What the parts could do alone on this machine: reading Kafka, decoding JSON, writing to Redis."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from figures import Row
from options import Options
from redis import Redis
from start import filled

from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.connection import CHUNK
from streamer.datasets import load
from streamer.events import Interaction
from streamer.servers import EmbeddedRedis

N_CONSUMED = 512  # at most, a call
N_LISTS = 100_000
N_LIST_ITEMS = 20
TTL_S = 604_800
TIMEOUT_S = 30.0


def limits(options: Options) -> list[Row]:
    """Messages a second of confluent-kafka alone, msgspec alone, SET alone: one process each, beside the loop."""
    log = load(options.data, catalog_first=True, max_events=options.max_events)
    values = [message.value for message in log.messages() if message.kind == "interactions"]
    consume = Row("limits", "confluent-kafka: consume alone", "messages/s")
    decode = Row("limits", "msgspec: decode alone", "messages/s")
    n_left = len(values) - 1
    for _ in range(options.n_runs):
        with filled(log, options.kafka) as place:
            consume.note = f"{place.kind} Kafka"
            with closing(_consumer(place.bootstrap)) as consumer:
                _add(consume, n_left, lambda consumer=consumer: _consume(consumer, n_left))
        _add(decode, len(values), lambda: _decode(values))
    return [consume, decode, *_sets(options.n_runs)]


def _add(row: Row, n: int, work: Callable[[], object]) -> None:
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    work()
    wall_s = time.monotonic() - began_s
    row.add(n / wall_s, wall_s, {"bench": time.process_time() - began_cpu_s})


def _consumer(bootstrap: str) -> Consumer:
    """At the first interaction, which it has read: connecting is not what is timed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "limits", "fetch.wait.max.ms": 10})
    partitions = consumer.list_topics("interactions", TIMEOUT_S).topics["interactions"].partitions
    consumer.assign([TopicPartition("interactions", number, OFFSET_BEGINNING) for number in partitions])
    _consume(consumer, 1)
    return consumer


def _consume(consumer: Consumer, n_left: int) -> None:
    while n_left:
        messages = consumer.consume(min(N_CONSUMED, n_left), TIMEOUT_S)  # waits until it has so many
        if not messages or any(message.error() for message in messages):
            raise TimeoutError(f"consume alone: {n_left} messages did not come")
        n_left -= len(messages)


def _decode(values: Sequence[bytes]) -> None:
    decode = msgspec.json.Decoder(Interaction).decode
    for value in values:
        decode(value)


def _sets(n_runs: int) -> list[Row]:
    entries = _lists()
    size = f"{len(entries[0][1]):,} bytes"
    by_client = Row("limits", f"Redis: pipelined SET of {size} by our adapter", "lists/s")
    by_buffer = Row("limits", f"Redis: SET of {size} from buffers made before", "lists/s")
    chunks = [entries[at : at + CHUNK] for at in range(0, len(entries), CHUNK)]
    buffers = [b"".join(_command(user_id, value) for user_id, value in chunk) for chunk in chunks]
    for _ in range(n_runs):
        with EmbeddedRedis() as server:
            lists = RedisLists(server.url)
            lists.ping()
            _add(by_client, len(entries), lambda lists=lists: lists.write(entries, TTL_S))
            lists.close()
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                _add(by_buffer, len(entries), lambda connection=connection: _send(connection, buffers))
            with Redis.from_url(server.url) as client:
                assert client.dbsize() == len(entries)  # noqa: S101  else what was timed was no SET
    return [by_client, by_buffer]


def _lists() -> list[tuple[str, bytes]]:
    """As large as lists are."""
    items = [
        {"id": f"{85_000 + n}A", "score": 0.0123456, "path": "cooccurrence"} for n in range(N_LIST_ITEMS)
    ]
    value = msgspec.json.encode(
        {"version": "recommendations.v1", "items": items, "generated_at": 1_700_000_000_000}
    )
    return [(f"u{n}", value) for n in range(N_LISTS)]


def _command(user_id: str, value: bytes) -> bytes:
    parts = [b"SET", f"streamer:list:{user_id}".encode(), value, b"EX", b"%d" % TTL_S]
    return b"*5\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _send(connection: socket.socket, buffers: Sequence[bytes]) -> None:
    """One buffer a round trip, as the adapter does; a SET is answered by five bytes."""
    for buffer in buffers:
        connection.sendall(buffer)
        n_left = 5 * buffer.count(b"*5\r\n$3\r\nSET")
        while n_left:
            n_left -= len(connection.recv(1 << 16))
