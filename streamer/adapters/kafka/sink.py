"""Messages to the log."""

import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamer.adapters.kafka.connection import Connection, make_client, merged_config
from streamer.adapters.kafka.partitioner import JAVA
from streamer.errors import InvalidEvent, Unavailable

_SINK = {
    "acks": "all",
    "enable.idempotence": True,  # retries neither duplicate nor reorder
    "compression.type": "zstd",
    "linger.ms": 5,
    "topic.metadata.propagation.max.ms": 5000,  # how long a topic may be missing before its messages fail
    "partitioner": JAVA,  # one key, one partition, whoever writes
    # The broker's limit is the one that counts (on compressed batches). Ours must not be the tighter one, or
    # a dead letter with its headers could be too large where its message was not.
    "message.max.bytes": 8_000_000,
}
_SENDING = "sending"
_FLUSH_S = 0.2
_SINK_FIXED = {"delivery.report.only.error": True}


class KafkaSink:
    """`ports.Sink` on Kafka: idempotent, compressed, batched for a few milliseconds.

    After an error any message since the last good `flush` may or may not be on the log: send them again.

    Args:
        bootstrap: "HOST:PORT,HOST:PORT".
        config: More settings for librdkafka; their values are never shown.
        timeout_s: Longest wait of `send` for room in the queue, and of a message for its delivery.

    Raises:
        ConfigError: librdkafka refuses a setting.
    """

    def __init__(
        self, bootstrap: str, *, config: Mapping[str, str] | None = None, timeout_s: float = 30.0
    ) -> None:
        self._timeout_s = timeout_s
        self._failed: tuple[str, KafkaError] | None = None
        self._closed = False
        self._sent: set[str] = set()  # topics, since the last good flush
        self._kafka = Connection(bootstrap)
        defaults = {**_SINK, "message.timeout.ms": round(timeout_s * 1000)}
        merged = {**merged_config(bootstrap, defaults, config, _SINK_FIXED), "on_delivery": self._on_failure}
        self._make_producer: Callable[[], Producer] = lambda: make_client(
            Producer, merged, config, self._kafka
        )
        self._producer = self._make_producer()

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Queue one message; waits while the queue is full.

        Raises:
            Unavailable: the queue stays full, or an earlier message could not be delivered.
            InvalidEvent: this message, or an earlier one, is larger than Kafka takes.
        """
        self._check()
        self._sent.add(topic)
        give_up_at_s = time.monotonic() + self._timeout_s
        while True:
            try:
                self._producer.produce(topic, value, key, headers=dict(headers) if headers else None)
            except BufferError as exc:
                self._producer.poll(0.05)
                self._check()
                if time.monotonic() > give_up_at_s:
                    what = f"queue full for {self._timeout_s:g} s, sending to {topic!r}"
                    self._kafka.fail(what, None, exc, right=_sending(topic))
            except KafkaException as exc:
                self._refuse(topic, exc.args[0], exc)
            else:
                self._producer.poll(0)  # delivery failures are reported here
                return

    def flush(self, timeout_s: float) -> None:
        """Wait until all queued messages are acknowledged.

        Raises:
            Unavailable: some were not in time; those still queued are dropped.
            InvalidEvent: one is larger than Kafka takes.
        """
        self._check()
        if self._flushed(timeout_s):
            self._producer.purge(in_queue=True, in_flight=False, blocking=True)
            self._producer.poll(0)
            self._failed = None  # those that were purged: reported right here
            what = f"messages not acknowledged within {timeout_s:g} s"
            self._kafka.fail(what, None, right=_SENDING)
        self._check()
        self._kafka.last_error = None
        self._kafka.answered = True
        self._kafka.passed.update([_SENDING, *map(_sending, self._sent)])
        self._sent.clear()

    def _flushed(self, timeout_s: float) -> int:
        """Messages that are left after so long; in short waits, so that a Ctrl-C ends it."""
        give_up_at_s = time.monotonic() + timeout_s
        try:
            n_left: int = self._producer.flush(min(_FLUSH_S, timeout_s))
            while n_left and time.monotonic() < give_up_at_s:
                n_left = self._producer.flush(min(_FLUSH_S, timeout_s))
        except SystemError as exc:  # the client loses an exception that comes inside its callback
            raise KeyboardInterrupt from exc
        return n_left

    def close(self) -> None:
        """Flush and leave. Idempotent.

        Raises:
            Unavailable: some messages could not be delivered.
        """
        if not self._closed:
            try:
                self.flush(self._timeout_s)
            finally:
                self._closed = True

    def _on_failure(self, error: KafkaError | None, message: Message) -> None:
        # The first failure says the most; the rest follow from it.
        if error is not None and self._failed is None:
            self._failed = (str(message.topic()), error)

    def _check(self) -> None:
        if self._closed:
            raise Unavailable(f"Kafka at {self._kafka.bootstrap}: the sink is closed")
        failed, self._failed = self._failed, None
        if failed is not None:
            self._refuse(*failed)

    def _refuse(self, topic: str, error: KafkaError, cause: BaseException | None = None) -> NoReturn:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise InvalidEvent(
                "size", "$", f"a message to topic {topic!r} is larger than Kafka takes"
            ) from cause
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            raise Unavailable(
                f"topic {topic!r} does not exist on {self._kafka.bootstrap}; create it"
            ) from cause
        if error.code() == KafkaError._FATAL:
            # An idempotent producer that lost its place refuses everything from now on: begin anew.
            self._producer = self._make_producer()
        self._kafka.fail(_sending(topic), error, cause)


def _sending(topic: str) -> str:
    return f"{_SENDING} to {topic!r}"
