"""What a turn of the loop is for, and how a start reads what was on the log: one kind of event after the other."""

import enum
import logging
from collections.abc import Callable, Mapping

from streamer.config import Settings
from streamer.ports import Clock, Source, TopicPartition
from streamer.runner.patience import KAFKA, Patience
from streamer.runner.positions import Positions
from streamer.silence import Silence

_log = logging.getLogger("streamer.runner")


class Phase(enum.IntEnum):
    """What a turn of the loop is for."""

    REFOLDING = enum.auto()  # what was folded since the checkpoint, as the log of folds has it
    # one kind after the other, so that which rows they get does not depend on how the log hands topics out
    LOADING_ITEMS = enum.auto()  # catalog and texts only, so that the first interactions find their items
    LOADING_USERS = enum.auto()  # profiles, too
    READING = enum.auto()  # everything that was on the log at the start
    PUBLISHING = enum.auto()  # the lists of all users known by then, beside those that change
    LIVE = enum.auto()


class CatchUp:
    """Reads everything that was on the log at the start: items, then users, then all.

    Args:
        settings: Topics.
        source: Topics of later phases are paused.
        positions: How far it was read.
        end: Where the log ended at the start.
        patience: Waits while Kafka is away.
        clock: Time.
        on_items_known: Called once, when items and users are loaded.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        positions: Positions,
        end: Mapping[TopicPartition, int],
        patience: Patience,
        clock: Clock,
        on_items_known: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._source = source
        self._positions = positions
        self._end = end
        self._patience = patience
        self._on_items_known = on_items_known
        self._silence = Silence(source, clock)

    def begin(self, *, seek: bool) -> Phase:
        """The first phase; with `seek` the source stands anywhere, and is put where the fold is.

        Raises:
            Unavailable: Kafka stays away while we are stopping.
        """
        later = [self._settings.topic_profiles, self._settings.topic_interactions]
        self._patience(KAFKA, lambda: self._source.pause(later))
        if seek:
            positions = self._positions.snapshot()
            self._patience(KAFKA, lambda: self._source.seek(positions))
            self._patience(KAFKA, lambda: self._source.hold([]))
        self._silence.broken()
        _log.info("catching_up", extra={"n_records": sum(self._positions.lag(self._end).values())})
        return Phase.LOADING_ITEMS

    def n_left(self) -> int:
        """Interactions that were on the log at the start and were not read yet."""
        return self._positions.lag(self._end).get(self._settings.topic_interactions, 0)

    def look(self, phase: Phase, any_records: bool) -> Phase:
        """The phase that comes now: a later one, up to PUBLISHING, once all there was for this one has been read.

        Raises:
            Unavailable: Kafka stays away while we are stopping.
        """
        if any_records:
            self._silence.broken()
        waits_for = {
            Phase.LOADING_ITEMS: [self._settings.topic_profiles, self._settings.topic_interactions],
            Phase.LOADING_USERS: [self._settings.topic_interactions],
        }
        paused = waits_for.get(phase, [])
        topics = [topic for topic in self._settings.kinds() if topic not in paused]
        left = self._positions.left(self._end, topics)
        if left and not self._patience(KAFKA, lambda: self._silence.is_the_end(left)):
            return phase
        self._silence.broken()
        if not paused:
            return Phase.PUBLISHING
        self._patience(KAFKA, lambda: self._source.resume(paused[:1]))
        if phase is Phase.LOADING_USERS:
            self._on_items_known()
        return self.look(Phase(phase + 1), any_records=False)  # there may be nothing on the topic at all
