"""Commits, and what was committed, on a client of its own."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition


class Committer:
    """Commits, and asks for what was committed, on a client of its own, which reads nothing.

    A synchronous commit of librdkafka hangs for 45 s when the broker goes away, and the answer to an
    asynchronous one comes by way of `poll`, where a reading client would find records too.

    Args:
        make: Makes the client, given the callback for answers.
    """

    def __init__(self, make: Callable[[Callable[..., None]], Consumer]) -> None:
        self._make = make
        self._client: Consumer | None = None
        self._answers: list[tuple[KafkaError | None, list[KafkaPartition]]] = []

    def commit(self, offsets: list[KafkaPartition], timeout_s: float) -> list[KafkaPartition]:
        """The partitions as committed, each with its error if it has one.

        Raises:
            KafkaException: no answer in time, or a refusal.
        """
        client = self._connect()
        client.poll(0)
        self._answers.clear()  # to commits that we gave up on
        client.commit(offsets=offsets, asynchronous=True)
        give_up_at_s = time.monotonic() + timeout_s
        while not self._answers and time.monotonic() < give_up_at_s:
            client.poll(0.002)  # it does not return early for an answer
        if not self._answers:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error, partitions = self._answers[-1]
        if error is not None:
            raise KafkaException(error)
        return partitions

    def committed(self, partitions: list[KafkaPartition], timeout_s: float) -> list[KafkaPartition]:
        """The partitions with what is committed, each with its error if it has one.

        Raises:
            KafkaException: no answer in time, or a refusal.
        """
        client = self._connect()
        try:
            return client.committed(partitions, timeout_s)
        except KafkaException as exc:
            # a user without rights on the group only sees a timeout; the reason arrives through `poll`
            answer = client.poll(0)
            error = answer.error() if answer is not None else None
            if error is None:
                raise
            raise KafkaException(error) from exc

    def _connect(self) -> Consumer:
        if self._client is None:
            self._client = self._make(lambda error, partitions: self._answers.append((error, partitions)))
        return self._client

    def close(self) -> None:
        """End the client, if it was needed. Idempotent."""
        if self._client is not None:
            self._client.close()
