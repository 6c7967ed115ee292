"""What a user who comes back finds: the list he left behind, the same renewed while he was away, or the one for strangers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby

import numpy as np
from figures import Row
from numpy.typing import NDArray
from options import Options

from streamer import pipeline
from streamer.config import Settings
from streamer.datasets import load
from streamer.events import Event, Interaction, decode
from streamer.outcomes import COUNTED, NEW_SESSION, Outcomes
from streamer.propagate.learner import Learner
from streamer.publish import ANONYMOUS_ROW, Publisher
from streamer.runner.returning import Returning
from streamer.training import ThreadTrainer

MINUTE_MS = 60_000  # of event time: a batch
K = 10
DEFAULTS = {"text_model": "none"}
FRESH = "ranked that moment"
LEFT, EXPIRED, RENEWED, STRANGER = "as he left it", "gone after a week", "renewed", "for strangers"

Rows = NDArray[np.int32]


def returning(options: Options) -> list[Row]:
    """HR@10 of the first event of a session of users who were here before, by the list that they find; once, without texts.

    Lists are made as the worker makes them, by event time: after each minute for whom it touched, and when a session is over.
    *Renewed*: at most `renew_after_s` old.
    """
    settings = Settings(**{**DEFAULTS, **options.settings})
    dataset = load(options.data, catalog_first=False, max_events=options.max_events)
    events = (decode(message.kind, message.key, message.value) for message in dataset.messages())
    turn_ms = 1000 * settings.renew_after_s
    with closing(ThreadTrainer(Learner())) as trainer:
        shelf = _Shelf(settings, trainer)
        for _, timed in groupby(_timed(events), lambda pair: pair[0] // turn_ms):
            turn = list(timed)
            shelf.renew(_users_of(turn))
            for number, minute in groupby(turn, lambda pair: pair[0] // MINUTE_MS):
                shelf.live([event for _, event in minute], (number + 1) * MINUTE_MS)
    return [
        Row("returning", f"{name}, of {shelf.n:,} sessions", "HR@10, %", [100.0 * n_hits / max(shelf.n, 1)])
        for name, n_hits in shelf.n_hits.items()
    ]


class _Shelf:
    """A model, and three tables of what Redis would hold."""

    def __init__(self, settings: Settings, trainer: ThreadTrainer) -> None:
        self._settings = settings
        self._state = pipeline.new_state(settings.fold(), trainer)
        self._kept, self._renewed, self._strangers = (Publisher(settings.max_users, K) for _ in range(3))
        self._was_here = np.zeros(settings.max_users, np.bool_)  # has done something
        self._returning = Returning(1000 * settings.session_gap_s)
        self.n = 0
        self.n_hits = dict.fromkeys((FRESH, RENEWED, LEFT, EXPIRED, STRANGER), 0)

    def renew(self, user_ids: set[str]) -> None:
        """The lists of these, who come back before the next turn; the others' nobody will see."""
        rows = [self._state.ids.users.row(user_id) for user_id in sorted(user_ids)]
        self._list(np.array([row for row in rows if row >= 0], np.int32), [self._renewed])

    def live(self, events: Sequence[Event], time_ms: int) -> None:
        """A minute, which ends at that time: look events up in the lists, learn them, and make the lists that change."""
        self._state, info = pipeline.step(self._state, events)
        self._count(info.outcomes, time_ms)
        self._returning.touch(np.unique(info.outcomes.user_row), time_ms)
        touched = np.union1d(info.touched_users, self._returning.take(self._state)).astype(np.int32)
        everything = [self._kept, self._renewed]
        self._list(touched, everything)
        self._list(np.array([ANONYMOUS_ROW], np.int32), [*everything, self._strangers])

    def _count(self, out: Outcomes, time_ms: int) -> None:
        is_back = (out.flags & COUNTED > 0) & (out.flags & NEW_SESSION > 0) & self._was_here[out.user_row]
        self._was_here[out.user_row] = True
        week_ago_ms = time_ms - 7 * 86_400_000
        ranks = {
            FRESH: out.rank,
            RENEWED: self._renewed.served(out),
            LEFT: self._kept.served(out),
            EXPIRED: self._kept.served(out, week_ago_ms),
            STRANGER: self._strangers.served(out),
        }
        self.n += int(is_back.sum())
        for name, rank in ranks.items():
            self.n_hits[name] += int(((rank >= 1) & (rank <= K) & is_back).sum())

    def _list(self, rows: Rows, shelves: Sequence[Publisher]) -> None:
        if not rows.size:
            return
        time_ms = self._returning.time_ms
        ranking = pipeline.rank_users(self._state, rows, K, pipeline.gaps_ms(self._state, rows, time_ms))
        for shelf in shelves:
            shelf.encode(self._state, ranking, time_ms, {})


def _timed(events: Iterable[Event]) -> Iterator[tuple[int, Event]]:
    """Each with the event time up to which the log has come: records of the catalog belong to the interaction before them."""
    time_ms = 0
    for event in events:
        if isinstance(event, Interaction):
            time_ms = max(time_ms, event.timestamp_ms)
        yield time_ms, event


def _users_of(turn: Sequence[tuple[int, Event]]) -> set[str]:
    return {event.user_id for _, event in turn if isinstance(event, Interaction)}
