"""Whose lists are due: made, written, and what was removed taken out of the store first."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.config import Settings
from streamer.pipeline import StepInfo
from streamer.ports import Clock, Fold, Lists, Receipts, Record, Vectors
from streamer.publish import ANONYMOUS_ROW, NO_USERS, without_items
from streamer.runner.erasures import Erasures
from streamer.runner.figures import Figures
from streamer.runner.interval import Every
from streamer.runner.model import Changes, Entries, Made, Model
from streamer.runner.outgoing import Message, Outgoing
from streamer.runner.patience import REDIS, Patience
from streamer.runner.renewal import Renewal
from streamer.runner.retirement import Cut, Retirement, users_of
from streamer.runner.vectors import VectorWriter
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")

_REMEMBERED = 10_000  # erased users, and items retired or restored: the last ones, of whom a store that lost it is told again
CUT_FOR_S = 1.0  # between two batches, and a step more: so long events wait where half of all lists hold a retired item


class Publishing:
    """Follows the fold, and keeps what is published true to it.

    Args:
        settings: How many lists at once, how long they last, whether they go to a topic, too.
        model: Makes the lists.
        lists: Where they are published.
        vectors: Where vectors, and the readable state of the encoders, are published. None: nowhere.
        receipts: Where it is written what was removed of erased users. None: nowhere.
        outgoing: Takes lists to their topic.
        patience: Waits while the store is away.
        figures: Told of every list that was written.
        clock: Time.
        telemetry: Counts.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        lists: Lists,
        vectors: Vectors | None,
        receipts: Receipts | None,
        *,
        outgoing: Outgoing,
        patience: Patience,
        figures: Figures,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._model = model
        self._lists = lists
        self._vectors = vectors
        self._outgoing = outgoing
        self._patience = patience
        self._figures = figures
        self._clock = clock
        self._telemetry = telemetry
        self._erasures = Erasures(settings, receipts, clock)
        self._retirement = Retirement(model.holders, clock, telemetry, settings.max_batch)
        self._renewal = Renewal(model.stale, clock, settings.renew_after_s)
        self._writer: VectorWriter | None = None
        if vectors is not None:
            self._writer = VectorWriter(
                settings, vectors, patience, clock, telemetry, lambda: self._claim(None)
            )
        self._is_touched = np.zeros(settings.max_users, np.bool_)  # before anything was published
        self._backlog = NO_USERS  # whose lists are still to be made for the first time
        self._anonymous_changed = False
        # the newest one that is ours; None: there is no log of folds, or not yet
        self._n_batches: int | None = None
        self._has_claimed = self._store_lost = False
        self._left: deque[str] = deque(maxlen=_REMEMBERED)  # ids of the users erased last
        self._marks: dict[str, bool] = {}  # item id -> whether it is retired, the last ones last
        self._due_anonymous = Every(clock, settings.anonymous_interval_s)
        self._anonymous_s: float | None = None  # when it was made last; None: it never was

    @property
    def has_backlog(self) -> bool:
        """Whether some of those who were known when publishing began have no list yet."""
        return self._backlog.size > 0

    @property
    def is_busy(self) -> bool:
        """Whether there is something to publish, even if no record comes."""
        return self.has_backlog or self._retirement.is_waiting

    def read(self, records: Sequence[Record]) -> None:
        """A batch of the log, before it is folded."""
        self._erasures.read(records)

    def folded(self, info: StepInfo, *, is_serving: bool) -> None:
        """What that batch did.

        Args:
            is_serving: Lists are published by now.
        """
        self._erasures.folded(info.erased)
        if self._writer is not None:
            self._writer.follow(self._model.state, info)
        if is_serving:
            back, retired = info.restored_item_ids, info.retired_item_ids
            self._retirement.restore(back, self._model.item_rows(back))
            self._retirement.retire(retired, self._model.item_rows(retired))
            self._retirement.make_again(self._model.take_wrong())
        else:
            self._is_touched[info.touched_users] = True
        self._anonymous_changed = True

    def restored(self) -> None:
        """The fold resumes from a checkpoint."""
        self._anonymous_changed = True  # whoever made it may have done so long ago
        if self._writer is not None:
            self._writer.restored(self._model.state)

    def begin(self) -> int:
        """Everyone who is known gets a list from now on, beside those whose list changes; how many these are."""
        everyone = self._model.inherit()
        is_touched = self._is_touched[everyone]
        # those whom the last records touched first: their lists are the ones that are wrong
        self._backlog = np.concatenate([everyone[is_touched], everyone[~is_touched]])
        return self._backlog.size

    def publish(self, touched: NDArray[np.int32], positions: Mapping[str, int], fold: Fold | None) -> bool:
        """Write the lists of these users, of those who left, of those with a retired item, of the next ones of the backlog.

        And the anonymous one, if it is due or holds a retired item. Then take retired items out of lists that wait. Where nothing
        waits a few old lists are made again.

        Args:
            touched: Rows, ascending.
            positions: `topic-partition` -> next offset: what the lists say about where they come from.
            fold: The batch that these lists are made after.

        Returns:
            Whether the store turned out to have lost what it had acknowledged: checkpoints, too, where they are kept there.

        Raises:
            Unavailable: the store stays away while we are stopping.
        """
        self._retirement.look()
        wrong = self._retirement.take()
        is_waiting = self._retirement.is_waiting
        n_more = self._settings.max_batch if is_waiting else self._settings.max_batch_catch_up
        more, self._backlog = self._backlog[:n_more], self._backlog[n_more:]
        first = self._model.inherited(more)
        is_idle = not (is_waiting or more.size)
        renewed = self._renewal.take(self._model.state.ids.users.n_rows) if is_idle else NO_USERS
        rows = np.concatenate([touched, self._model.returning_users(), users_of(wrong), first, renewed])
        is_anonymous_due = (self._anonymous_changed or self._is_anonymous_old) and self._due_anonymous()
        self._write(np.unique(rows), is_anonymous_due or ANONYMOUS_ROW in wrong, positions, fold)
        self._telemetry.lists_renewed.inc(renewed.size)
        self._model.disinherit(more)  # what is not made by now belongs to nobody
        self._retirement.written(wrong.size)
        self._cut()
        if not self._store_lost:
            return False
        self._write_everything_again()
        return True

    @property
    def _is_anonymous_old(self) -> bool:
        """Whether it is time by the clock alone: on a quiet stream it would expire, and so would those of segments."""
        if self._anonymous_s is None:
            return False
        age_s = self._clock.monotonic_s() - self._anonymous_s
        return age_s * self._model.n_segment_turns >= self._settings.list_ttl_s / 2

    def note(self, fold: Fold) -> None:
        """Write down that this batch was folded, and publish nothing yet."""
        self._patience(REDIS, lambda: self._claim(fold))

    def goes_on_after(self, n_batches: int) -> None:
        """So many batches were folded by earlier workers, and the log of folds has no more: what comes now is ours."""
        self._n_batches = n_batches

    def publish_vectors(self) -> None:
        """The next few, where it is time."""
        if self._writer is not None:
            self._writer.write(self._model.state)

    def finish(self, positions: Mapping[str, int]) -> None:
        """Write what is due, whatever the clock says."""
        self._write(NO_USERS, self._anonymous_changed, positions)

    def show(self) -> None:
        """Set the gauges."""
        if self._writer is not None:
            self._writer.show()

    def _write(
        self,
        user_rows: NDArray[np.int32],
        with_anonymous: bool,
        positions: Mapping[str, int],
        fold: Fold | None = None,
    ) -> None:
        made = self._made(user_rows, with_anonymous, positions)
        changes = self._model.take_changes()
        entries = made.entries if made is not None else []
        if not entries and changes is None and fold is None:
            return
        if changes is not None:
            self._remember(changes)
        began_s = self._clock.monotonic_s()
        self._patience(REDIS, lambda: self._write_once(entries, changes, fold))
        self._telemetry.write.observe(self._clock.monotonic_s() - began_s)
        if made is not None:
            self._figures.listed(made.item_rows, made.is_cold, made.n_explored)
        if self._settings.publish_recommendations:
            self._send_lists(entries, changes)

    def _cut(self) -> None:
        """Take retired items out of lists as they are, since to make all of these again would take too long."""
        until_s = self._clock.monotonic_s() + CUT_FOR_S
        while (cut := self._retirement.take_uncut(self._settings.max_batch_catch_up)).user_rows.size:
            self._cut_some(cut)
            if self._clock.monotonic_s() >= until_s:
                break

    def _cut_some(self, cut: Cut) -> None:
        owners = self._model.owners(cut.user_rows)
        read: dict[str, bytes] = {}
        self._patience(REDIS, lambda: read.update(self._lists.read_each(owners)))
        entries = [
            (owner, value)
            for owner, whole in read.items()
            if (value := without_items(whole, cut.item_ids)) is not None
        ]
        self._patience(REDIS, lambda: self._write_again(entries))
        self._retirement.cut(len(entries))
        if self._settings.publish_recommendations:
            self._send_lists(entries, None)

    def _write_again(self, entries: Entries) -> None:
        self._claim(None)
        self._lists.write(entries, self._settings.list_ttl_s)

    def _remember(self, changes: Changes) -> None:
        self._left.extend(changes.erased_user_ids)
        told = dict.fromkeys(changes.retired_item_ids, True) | dict.fromkeys(changes.restored_item_ids, False)
        for item_id, is_retired in told.items():
            self._marks.pop(item_id, None)  # the newest lie last
            self._marks[item_id] = is_retired
        while len(self._marks) > _REMEMBERED:
            del self._marks[next(iter(self._marks))]

    def _write_everything_again(self) -> None:
        """The store was lost, or is an older replica: who was erased since it was copied has his list there again.

        And the marks of items are those of then.
        """
        self._store_lost = False
        erased = [user_id for user_id in self._left if self._model.state.ids.users.row(user_id) < 0]
        gone = [item_id for item_id, is_retired in self._marks.items() if is_retired]
        back = [item_id for item_id, is_retired in self._marks.items() if not is_retired]
        changes = Changes(erased, gone, back)
        self._patience(REDIS, lambda: self._write_changes(changes))
        if self._writer is not None:
            self._writer.restored(self._model.state)
        self._anonymous_changed = True
        n_users = self.begin()
        _log.error("store_lost_writes", extra={"n_lists_to_write": n_users})
        self._telemetry.store_lost.inc()

    def _made(
        self, user_rows: NDArray[np.int32], with_anonymous: bool, positions: Mapping[str, int]
    ) -> Made | None:
        if not user_rows.size and not with_anonymous:
            return None
        began_s = self._clock.monotonic_s()
        made = self._model.lists(user_rows, with_anonymous, self._clock.now_ms(), positions)
        self._telemetry.rank.observe(self._clock.monotonic_s() - began_s)
        if with_anonymous:
            self._anonymous_changed, self._anonymous_s = False, self._clock.monotonic_s()
        return made

    def _write_once(self, entries: Entries, changes: Changes | None, fold: Fold | None) -> None:
        """Nothing that could not be repeated; erased users first, since one may have come back."""
        self._claim(fold)
        if changes is not None:
            self._erasures.begin(self._lists, self._vectors)
            self._write_changes(changes)
            self._erasures.write()
        self._lists.write(entries, self._settings.list_ttl_s)

    def _write_changes(self, changes: Changes) -> None:
        self._lists.delete(changes.erased_user_ids)
        self._lists.retire(changes.retired_item_ids, self._settings.list_ttl_s)
        self._lists.restore(changes.restored_item_ids)
        if self._writer is not None:
            self._writer.delete(changes.erased_user_ids, changes.retired_item_ids)

    def _claim(self, fold: Fold | None) -> None:
        """Nothing is written by one who was paused for long, and superseded: the log of folds tells."""
        if fold is not None:
            follows = self._lists.claim(fold)
            # before our first one, whoever was here before may have ended with `clear`
            self._store_lost |= self._has_claimed and not follows
            self._has_claimed, self._n_batches = True, fold.number
        elif self._n_batches is not None:
            self._lists.check(self._n_batches)

    def _send_lists(self, entries: Entries, changes: Changes | None) -> None:
        topic = self._settings.topic_recommendations
        for user_id in changes.erased_user_ids if changes is not None else ():
            self._outgoing.add(Message(topic, user_id.encode(), None))
        for user_id, value in entries:
            self._outgoing.add(Message(topic, user_id.encode(), value))
        self._outgoing.send()
