"""`streamer verify`: the lists in Redis against the log, from its beginning to where it ends now."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import typer

from streamer.adapters.redis import RedisLists
from streamer.cli.connect import on_redis, source_of
from streamer.cli.log_reading import records_until
from streamer.config import Settings
from streamer.errors import InvalidEvent
from streamer.log import printable
from streamer.ports import Lists, Source, TopicPartition
from streamer.runner.admission import admit
from streamer.verification import KINDS, Difference, Listed, LogFold, listed

LOOK_AGAIN_S = 2.0  # a retired item is off all lists within this: what is wrong twice is wrong
_COMMIT_WAIT_S = 0.2
_N_SHOWN = 20


class Verdict(NamedTuple):
    """What was found."""

    n_lists: int
    n_users: int  # of the log
    n_newer: int  # lists made after messages that came meanwhile: not compared
    n_behind: int  # records that the worker had not dealt with
    is_full: bool  # the model may have forgotten users: what that explains is not reported
    differences: list[Difference]

    def to_json(self) -> str:
        """For programs."""
        document = self._asdict() | {
            "counts": Counter(one.kind for one in self.differences),
            "differences": [one._asdict() for one in self.differences],
        }
        return json.dumps(document)


def verify(settings: Settings, wait_s: float) -> Verdict:
    """Fold the log, then look at every list.

    Raises:
        Unavailable: Kafka or Redis is away.
    """
    first, then = [settings.topic_catalog, settings.topic_profiles], [settings.topic_interactions]
    with (
        closing(source_of(settings, first)) as facts,
        closing(source_of(settings, then)) as interactions,
        closing(on_redis(RedisLists, settings)) as lists,
    ):
        lists.ping()
        return verify_by(settings, [facts, interactions], lists, wait_s, now_ms=time.time_ns() // 1_000_000)


def verify_by(
    settings: Settings,
    sources: list[Source],
    lists: Lists,
    wait_s: float,
    *,
    now_ms: int,
    pause: Callable[[float], None] = time.sleep,
) -> Verdict:
    """As `verify`, over these ports.

    Args:
        sources: Of catalog and profiles, then of interactions.
        wait_s: For the worker to come to where the log ended when this began, at most.
        now_ms: Wall clock.
    """
    end = {tp: offset for source in sources for tp, offset in source.end_offsets().items()}
    fold = _fold(settings, sources, end)
    n_behind = _wait(sources, end, wait_s, pause)
    names = {tp.key: offset for tp, offset in end.items()}
    is_full = fold.n_rows_most > settings.max_users
    owners, n_newer = set[str](), 0
    found: list[Difference] = []
    for user_id, value in lists.everything():
        owners.add(user_id)
        one = listed(value)
        if one is not None and one.is_newer(names):
            n_newer += 1
        else:
            found += fold.wrong_with(user_id, one, repeats=settings.repeats, is_forgetful=is_full)
    if not is_full:
        found += fold.missing(owners, now_ms - settings.list_ttl_s * 1000)
    if found:
        pause(LOOK_AGAIN_S)
    again = lists.read_each([one.user_id for one in found])
    still = [one for one in found if _is_still(one, again.get(one.user_id), fold, names, settings, is_full)]
    return Verdict(len(owners), fold.n_users, n_newer, n_behind, is_full, still)


def show(verdict: Verdict) -> None:
    """For people: counts by kind, and the first ones."""
    counts = Counter(one.kind for one in verdict.differences)
    typer.echo(
        f"{verdict.n_lists:,} lists, {verdict.n_users:,} users on the log: {len(verdict.differences):,} differences"
    )
    for kind, n in counts.most_common():
        typer.echo(f"  {n:,}  {kind}: {KINDS[kind]}")
    for one in verdict.differences[:_N_SHOWN]:
        typer.echo(printable(f"    {one.kind} {one.user_id} {one.item_id}".rstrip()))
    if len(verdict.differences) > _N_SHOWN:
        typer.echo(f"    ... {len(verdict.differences) - _N_SHOWN:,} more; --json gives all")
    if verdict.n_newer:
        typer.echo(f"{verdict.n_newer:,} lists were made after messages that came meanwhile: not compared")
    if verdict.n_behind:
        typer.echo(
            f"the worker is {verdict.n_behind:,} records behind, or none runs: lists may differ for that alone"
        )
    if verdict.is_full:
        typer.echo(
            "the log knows more users than max_users, so the model forgets some: missing lists and taken items are not reported"
        )


def _fold(settings: Settings, sources: list[Source], end: dict[TopicPartition, int]) -> LogFold:
    fold, kinds = LogFold(), settings.kinds()
    for source in sources:
        own = {tp: end[tp] for tp in source.begin_offsets() if tp in end}
        for record in records_until(source, own):
            try:
                event, log_ms = admit(record, kinds[record.topic], settings.max_skew_s * 1000)
            except InvalidEvent:
                continue
            fold.take(event, log_ms)
    return fold


def _wait(
    sources: list[Source], end: dict[TopicPartition, int], wait_s: float, pause: Callable[[float], None]
) -> int:
    """Records that the worker has not dealt with once it had this much time: it commits what its lists stand for."""
    give_up_s = time.monotonic() + wait_s
    while True:
        done = {tp: offset for source in sources for tp, offset in source.committed().items()}
        n_behind = sum(max(0, offset - done.get(tp, 0)) for tp, offset in end.items())
        if not n_behind or time.monotonic() >= give_up_s:
            return n_behind
        pause(_COMMIT_WAIT_S)


def _is_still(
    one: Difference,
    value: bytes | None,
    fold: LogFold,
    end: dict[str, int],
    settings: Settings,
    is_full: bool,
) -> bool:
    if value is None:
        return one.kind == "missing"
    now: Listed | None = listed(value)
    if now is not None and now.is_newer(end):
        return False
    return one in fold.wrong_with(one.user_id, now, repeats=settings.repeats, is_forgetful=is_full)
