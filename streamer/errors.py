"""Everything that can go wrong, in one tree, and the exit code of each.

A message says what failed, what was expected, what came instead, where, and what happens next.
"""

from typing import ClassVar, Final, Literal, get_args

EXIT_INTERRUPTED: Final = 130  # as shells tell of Ctrl-C
Reason = Literal["json", "schema", "size", "depth", "utf8", "key", "number", "future"]
REASONS: tuple[Reason, ...] = get_args(Reason)  # why messages are refused


class StreamerError(Exception):
    """Base of all errors that streamer raises on purpose. `exit_code` is what the CLI exits with."""

    exit_code: ClassVar[int] = 1


class ConfigError(StreamerError):
    """A setting is unknown, malformed or contradicts another one. Raised before anything connects."""

    exit_code = 2


class Unavailable(StreamerError):
    """A dependency (Kafka, Redis) is away or refuses us for now. Back off, keep positions, commit nothing."""

    exit_code = 3


class DataError(StreamerError):
    """A data set or file named on the command line cannot be read as what it should be."""

    exit_code = 4


class TooManyInvalid(StreamerError):
    """More messages in a row than the setting allows went to dead letters: somebody writes garbage to the topic."""

    exit_code = 5


class LogGap(StreamerError):
    """Offsets are missing from the log (retention, truncation) where the fold needs them."""

    exit_code = 6


class InvalidEvent(StreamerError):
    """A message that can never be used. It goes to dead letters; the stream goes on.

    Args:
        reason: For metrics.
        path: The offending field, as `$.field` or `$.field[3]`; `$` for the whole message.
        detail: What was expected and what came, for people. Never holds more than a short excerpt of the payload.
    """

    exit_code = 7

    def __init__(self, reason: Reason, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.reason: Reason = reason
        self.path = path
        self.detail = detail


class CheckpointRefused(StreamerError):
    """A checkpoint that no worker can resume from: damaged, of another configuration, or of a newer version."""

    exit_code = 8
