"""What source and sink share: settings, the last error, and how to tell of it."""

import logging
from collections.abc import Mapping
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException

from streamer.errors import ConfigError, Unavailable

_log = logging.getLogger("streamer.adapters.kafka")

_COMMON = {
    "client.id": "streamer",
    # Back within a second of the broker's return; librdkafka's own limit is ten.
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1000,
    # Bounds every request, so that no call outlives an unreachable broker by more than this.
    "socket.timeout.ms": 10_000,
}
_WRONG_CREDENTIALS = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_NO_RIGHT = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class _LibrdkafkaLog:
    """Where librdkafka logs to, for debugging: what matters of it is reported by `Unavailable`, once."""

    def log(self, level: int, *line: object) -> None:
        """What librdkafka has to say."""
        _log.log(logging.WARNING if level >= logging.CRITICAL else logging.DEBUG, *line)


def merged_config(
    bootstrap: str, defaults: Mapping[str, Any], given: Mapping[str, str] | None, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a client: ours, what the user gave over `defaults`, and `fixed`, which nobody may give.

    Raises:
        ConfigError: one of ours was given.
    """
    taken = {"bootstrap.servers", *fixed}.intersection(given or {})
    if taken:
        raise ConfigError(
            f"Kafka settings {', '.join(sorted(taken))} are streamer's own and cannot be passed through"
        )
    return {**_COMMON, **defaults, **(given or {}), **fixed, "bootstrap.servers": bootstrap}


def _without_values(text: str, given: Mapping[str, str] | None) -> str:
    """librdkafka repeats a refused value in its message; it may be a password."""
    for value in sorted((given or {}).values(), key=len, reverse=True):
        text = text.replace(value, "***") if value else text
    return text


class Connection:
    """What source and sink share: the bootstrap servers, the last error, and how to tell of it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.last_error: KafkaError | None = None
        self.answered = False
        self.passed: set[str] = set()  # what Kafka once let us do, as `fail` names it

    def on_error(self, error: KafkaError) -> None:
        """What the client calls: remembers why the connection broke."""
        # librdkafka reports each broken connection, then that all are down: the first says why.
        if self.last_error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last_error = error

    def fail(
        self,
        what: str,
        error: KafkaError | None,
        cause: BaseException | None = None,
        *,
        right: str | None = None,
    ) -> NoReturn:
        """Raise the error of this connection that fits.

        Wrong credentials are a `ConfigError` until Kafka first answers, and missing rights until it first let us do the same,
        since no waiting heals them; later they are `Unavailable`, since then it is the server that changed.

        Args:
            what: What failed.
            error: Why, where that is known.
            cause: The exception it came by.
            right: What `passed` holds once it worked; None: `what`.
        """
        # A broker's own words (codes above 0) say more than a connection that broke some time ago, and that
        # more than librdkafka's "timed out".
        reason = error if error is not None and error.code() > 0 else self.last_error or error
        text = f"Kafka at {self.bootstrap}: {what}: {reason.str() if reason else 'no answer'}"
        if reason and reason.code() in _WRONG_CREDENTIALS and not self.answered:
            raise ConfigError(f"{text}; check mechanism, user name and password") from cause
        if reason and reason.code() in _NO_RIGHT and (right or what) not in self.passed:
            raise ConfigError(f"{text}; check the ACLs of the user") from cause
        if "certificate verify failed" in text and not self.answered:
            raise ConfigError(f"{text}; check ssl.ca.location of the setting kafka_config") from cause
        raise Unavailable(text) from cause


def make_client(
    kind: Any, merged: dict[str, Any], given: Mapping[str, str] | None, connection: Connection
) -> Any:
    """A client of this kind; errors of its connection are reported to `connection`.

    Raises:
        ConfigError: librdkafka refuses a setting.
    """
    try:
        return kind({**merged, "error_cb": connection.on_error}, logger=_LibrdkafkaLog())
    except (KafkaException, ValueError, TypeError) as exc:
        reason = exc.args[0]
        text = _without_values(reason.str() if isinstance(reason, KafkaError) else str(reason), given)
        raise ConfigError(f"Kafka setting refused: {text}") from None  # the cause would show the values
