"""The pure core with its state, as the loop sees it: events in, encoded lists and a report out."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer import checkpoint, pipeline, report
from streamer.config import Settings
from streamer.events import Event
from streamer.graph.rates import COLD
from streamer.measure import Scoreboard
from streamer.publish import ANONYMOUS_ROW, Publisher, owners
from streamer.runner.returning import Returning
from streamer.training import Pace, ThreadTrainer

_log = logging.getLogger("streamer.runner")

_SLOW_S = 3.0  # loading compiled kernels takes less, so this is the first time: silence would look like standing still
N_SEGMENTS_A_TIME = 50  # lists of segments that are made beside an anonymous one
N_UNHURRIED = 5_000  # the last interactions before a start makes lists: all measured, and no training is late

Entries = list[tuple[str, bytes]]  # user id -> the list as it is written


class Made(NamedTuple):
    """Lists, n of them."""

    entries: Entries
    item_rows: NDArray[np.int32]  # (n, k) best first, -1 where a list is shorter
    is_cold: NDArray[np.bool_]  # (n, k) whether each of these has few events
    n_explored: int  # places that the explore share gave to new items


class Changes(NamedTuple):
    """What must happen to published lists and vectors beside writing new ones."""

    erased_user_ids: list[str]
    retired_item_ids: list[str]
    restored_item_ids: list[str]


class Chances(NamedTuple):
    """What of a batch the log does not settle, and a repetition must be told: see `ports.Fold`."""

    rounds: str = ""
    served: bytes = b""
    max_measured: int = 0  # 0: no limit


class Model:
    """Owns the state of the fold. Not safe to share between threads.

    Args:
        settings: Sizes, rules, length of lists.
        trainer: Of the attention network; closed by whoever made it. None: there are no vectors.

    Raises:
        ConfigError: the settings switch something off that there is not.
    """

    def __init__(self, settings: Settings, trainer: ThreadTrainer | None = None) -> None:
        self._settings = settings
        self.trainer = trainer
        self.state = pipeline.new_state(settings.fold(), trainer)
        self.scoreboard = Scoreboard()
        self._publisher = Publisher(settings.max_users, settings.k)
        self._returning = Returning(settings.session_gap_s * 1000)
        self._n_segments_made = 0
        self._chances = Chances()
        self._wrong = np.zeros(0, np.int32)  # see `take_wrong`
        self._is_retired: dict[str, bool] = {}  # item id -> the last word on it, not written yet
        self._erased: dict[str, None] = {}  # user ids, in order, not deleted yet

    def warm_up(self) -> None:
        """Compile, or load, every kernel now: the first event should not have to wait for it."""
        report = threading.Timer(
            _SLOW_S, _log.info, ["compiling"], {"extra": {"takes": "minutes, the first time"}}
        )
        report.daemon = True
        report.start()
        try:
            pipeline.warm_up(self._settings.fold(), self._settings.measure_share, self._settings.k)
        finally:
            report.cancel()

    def fold(
        self,
        events: Sequence[Event],
        now_ms: int,
        is_serving: bool,
        log_ms: Sequence[int] | None = None,
        n_left: int = 0,
    ) -> pipeline.StepInfo:
        """Measure and learn one batch.

        Args:
            events: In log order.
            now_ms: Wall clock: no event happened later, whatever its timestamp says.
            is_serving: Lists were published before, so look the events up in those, too, and never wait for training.
            log_ms: The log's own time of each event, see `pipeline.step`.
            n_left: Interactions that a start has still to read behind these.
        """
        pace = Pace.LIVE if is_serving else Pace.HASTY if n_left > N_UNHURRIED else Pace.PATIENT
        if self.trainer is not None:
            self.trainer.pace = pace
        share, most = self._settings.measure_share, self._max_measured(len(events), pace)
        self.state, info = pipeline.step(self.state, events, share, log_ms, most)
        # before the look-up: a row that changed hands in this batch must not show its newcomer the list of the one who left
        self._forget(info)
        served = None
        if is_serving:
            served = self._publisher.served(info.outcomes, now_ms - self._settings.list_ttl_s * 1000)
        self.scoreboard.update(info.outcomes, served)
        self._note(info, now_ms)
        rounds = self.trainer.take_decisions() if self.trainer is not None else ""
        # lists are at most 200 items long: a rank fits into a byte
        ranks = served.astype(np.uint8).tobytes() if served is not None else b""
        self._chances = Chances(rounds, ranks, most or 0)
        return info

    def _max_measured(self, n_events: int, pace: Pace) -> int | None:
        """Nobody waits for a list, or for a long log, while many events are ranked one by one; None: all are."""
        settings = self._settings
        if pace is Pace.PATIENT or settings.training_waits:
            return None
        most = settings.max_measured
        if pace is Pace.HASTY:  # of a batch that is longer, the same part as of the longest live one
            most = max(most, most * n_events // settings.max_batch)
        return most if n_events > most else None

    def take_chances(self) -> Chances:
        """What of the batch that was folded since the last call the log does not settle."""
        chances, self._chances = self._chances, Chances()
        return chances

    def refold(
        self, events: Sequence[Event], now_ms: int, chances: Chances, log_ms: Sequence[int] | None = None
    ) -> pipeline.StepInfo:
        """Measure and learn a batch once more, as it was: see `fold`.

        Args:
            chances: As `take_chances` gave it then.
        """
        if self.trainer is not None:
            self.trainer.plan(chances.rounds)
        share, most = self._settings.measure_share, chances.max_measured or None
        self.state, info = pipeline.step(self.state, events, share, log_ms, most)
        self._forget(info)
        if self.trainer is not None:
            self.trainer.plan("")
            self.trainer.take_decisions()
        served = np.frombuffer(chances.served, np.uint8).astype(np.int32)
        was_serving = served.size == info.n_interactions
        self.scoreboard.update(info.outcomes, served if was_serving else None)
        self._note(info, now_ms)
        return info

    def room(self) -> Callable[[], checkpoint.Room]:
        """Room for a copy of the state: see `checkpoint.room_for`."""
        return checkpoint.room_for(self.state)

    def freeze(self, room: checkpoint.Room | None) -> Callable[[], checkpoint.Arrays]:
        """Copy the state, for a checkpoint: see `checkpoint.freeze`."""
        return checkpoint.freeze(self.state, self.scoreboard, room)

    def restore(self, restored: checkpoint.Restored, time_ms: int) -> None:
        """Go on from a checkpoint; called before anything was folded.

        Args:
            time_ms: Event time up to which the log was read.
        """
        self.state, self.scoreboard = restored
        users = self.state.graph.users[: self.state.ids.users.n_rows]
        is_here = (users["n_events"] > 0) & (
            time_ms - users["last_time_ms"] <= self._settings.session_gap_s * 1000
        )
        self._returning.touch(np.flatnonzero(is_here).astype(np.int32), time_ms)

    @property
    def time_ms(self) -> int:
        """Event time up to which the log was read."""
        return self._returning.time_ms

    def texts(self) -> tuple[set[str], set[str]]:
        """Keys of the texts that have their vector, and of those that wait for it."""
        near, texts = self.state.nearest, self.state.texts
        vectors = near.table.vector[: self.state.ids.items.n_rows] if near is not None else np.zeros((0, 1))
        has_vector: NDArray[np.bool_] = np.any(vectors, axis=1)
        known, missing = set(texts.early_keys()), set[str]()
        for row, key in texts.items():
            (known if row < has_vector.size and has_vector[row] else missing).add(key)
        return known, missing - known

    def _note(self, info: pipeline.StepInfo, now_ms: int) -> None:
        """Remember whose lists must be made, marked or deleted."""
        self.scoreboard.forget(pipeline.rows_of_nobody(self.state, info))  # lists of this batch may show them
        if info.n_interactions:
            user_rows, time_ms = np.unique(info.outcomes.user_row), int(info.outcomes.time_ms.max())
            self._returning.touch(user_rows, min(time_ms, now_ms))
        self._is_retired |= dict.fromkeys(info.retired_item_ids, True)
        self._is_retired |= dict.fromkeys(info.restored_item_ids, False)
        self._erased |= dict.fromkeys(info.erased_user_ids)

    def _forget(self, info: pipeline.StepInfo) -> None:
        """Rows that changed hands show their newcomers nothing of those who had them before."""
        self._publisher.forget(info.erased_user_rows)
        if info.evicted_item_rows:
            n_users = self.state.ids.users.n_rows
            rows, retired_rows = info.evicted_item_rows, info.evicted_retired_rows
            wrong = self._publisher.forget_items(rows, retired_rows, n_users)
            self._wrong = np.union1d(self._wrong, wrong)
            self.scoreboard.forget(np.array(rows, np.int64))

    def inherit(self) -> NDArray[np.int32]:
        """Rows of all users, and of those who stand for segments, some of which may have been given back.

        What the store holds of them may be anything.
        """
        everyone = np.arange(self.state.ids.users.n_rows, dtype=np.int32)
        self._publisher.inherit(everyone)
        return everyone

    def inherited(self, user_rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Of these rows those whose list was not made since `inherit`."""
        return self._publisher.inherited(user_rows)

    def disinherit(self, user_rows: NDArray[np.int32]) -> None:
        """The store holds no list of these rows that was not made since `inherit`."""
        self._publisher.forget(self._publisher.inherited(user_rows))

    def item_rows(self, item_ids: Sequence[str]) -> list[int]:
        """Rows of these items, of those that have one."""
        rows = self.state.ids.items.row
        return [row for item_id in item_ids if (row := rows(item_id)) >= 0]

    def holders(self, item_rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rows of those whose published list holds one of these items: see `Publisher.holders`."""
        return self._publisher.holders(item_rows, self.state.ids.users.n_rows)

    def stale(self, begin: int, end: int, before_ms: int) -> NDArray[np.int32]:
        """Rows whose list is old: see `Publisher.stale`."""
        return self._publisher.stale(begin, end, before_ms)

    def owners(self, user_rows: NDArray[np.int32]) -> list[str]:
        """Ids that the lists of these rows are published under, of those rows that somebody owns."""
        return [owner for owner in owners(self.state, user_rows) if owner is not None]

    def take_wrong(self) -> NDArray[np.int32]:
        """Rows of those whose published list holds an item that was retired, and evicted since the last call."""
        wrong, self._wrong = self._wrong, np.zeros(0, np.int32)
        return wrong

    def returning_users(self) -> NDArray[np.int32]:
        """Rows of users whose session has ended since the last call: their lists are for their return from now on."""
        return self._returning.take(self.state)

    def lists(
        self, user_rows: NDArray[np.int32], with_anonymous: bool, now_ms: int, positions: Mapping[str, int]
    ) -> Made:
        """Rank these users, and those nobody knows where asked; encode their lists.

        Args:
            user_rows: (n,) int32; rows that nobody owns are left out.
            with_anonymous: The anonymous list, and the next few of segments, too.
            now_ms: Goes into the lists.
            positions: `topic-partition` -> next offset; the same.
        """
        state, id_of = self.state, self.state.ids.users.id
        user_rows = np.array([row for row in user_rows.tolist() if id_of(row) is not None], np.int32)
        if with_anonymous:
            more = np.setdiff1d(self._next_segments(), user_rows)
            user_rows = np.concatenate([user_rows, more, np.array([ANONYMOUS_ROW], np.int32)])
        gaps_ms = pipeline.gaps_ms(state, user_rows, self._returning.time_ms)
        ranking = pipeline.rank_users(state, user_rows, self._settings.k, gaps_ms)
        is_cold = state.graph.items["n_events"][ranking.items] < COLD
        entries = self._publisher.encode(state, ranking, now_ms, positions)
        return Made(entries, ranking.items, is_cold, pipeline.n_explored(state, ranking))

    @property
    def n_segment_turns(self) -> int:
        """How many anonymous lists until each segment had its turn, at least 1."""
        return max(-(-len(self.state.segments) // N_SEGMENTS_A_TIME), 1)

    def _next_segments(self) -> NDArray[np.int32]:
        """Rows of those who stand for segments, some at a time, in turn."""
        rows = np.array(list(self.state.segments.values()), np.int32)
        n = min(N_SEGMENTS_A_TIME, rows.size)
        begin, self._n_segments_made = self._n_segments_made, self._n_segments_made + n
        return rows[(begin + np.arange(n)) % max(rows.size, 1)]

    def take_changes(self) -> Changes | None:
        """What has changed since the last call, None when nothing has."""
        if not self._erased and not self._is_retired:
            return None
        retired = [item_id for item_id, is_retired in self._is_retired.items() if is_retired]
        restored = [item_id for item_id, is_retired in self._is_retired.items() if not is_retired]
        changes = Changes(list(self._erased), retired, restored)
        self._erased, self._is_retired = {}, {}
        return changes

    def report(self) -> dict[str, Any]:
        """What was measured so far, as `report.v1`, but for `timing`; waits for the round of training at hand."""
        return report.build(
            self._settings.topic_interactions,
            {"k": self._settings.k, "measure_share": self._settings.measure_share},
            self.state,
            self.scoreboard,
        )
