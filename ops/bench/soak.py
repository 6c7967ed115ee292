"""Runs a compressed day, with faults all along, and shows what became of it; see README.md beside this file."""

import json
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any

import typer
from figures import markdown
from main import machine, settings_of
from soaking import checks
from soaking.day import ITEM_LIVES, Block, Day, Sent
from soaking.faults import FAULTS, schedule
from soaking.place import Place
from soaking.watch import HEADER, Watch

from streamer.errors import StreamerError

START_TIMEOUT_S = 600.0  # the first start on a machine compiles the kernels
STALL_TIMEOUT_S = 180.0
PAUSE_S = 0.02
LOOK_EVERY_S = 0.25
EVENTS_A_FAULT = 100_000


def main(
    *,
    events: Annotated[int, typer.Option(min=1_000, help="Interactions of the day")] = 10_000_000,
    faults: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"Faults, all kinds in turn; default one in {EVENTS_A_FAULT:,} events, 7 at least"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the day and its faults")] = 1,
    item_lives: Annotated[
        int,
        typer.Option(min=0, help="Times that each item is replaced; 0: the tables should stay as they are"),
    ] = ITEM_LIVES,
    setting: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of every worker; may be repeated")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="NAME.json and NAME.md are written")] = Path("soak"),
) -> None:
    """Print memory over time, lag, errors and the final checks; exit 1 when one of them does not hold."""
    n_faults = max(len(FAULTS), events // EVENTS_A_FAULT) if faults is None else faults
    with ExitStack() as stack:
        directory = Path(mkdtemp(prefix="streamer-soak-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        soak = Soak(stack, directory, Day(events, seed, item_lives), events, settings_of(setting or ()))
        document = soak.run(list(schedule(n_faults, events, seed)))
    document["machine"], document["seed"] = machine(), seed
    text = _markdown(document)
    out.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    typer.echo(text)
    if not all(check["holds"] for check in document["checks"]):
        raise typer.Exit(1)


class Soak:
    """One day.

    Args:
        stack: Ends what it starts.
        directory: For what its parts write.
        day: What happens on it.
        n_events: Interactions of the day.
        settings: Of every worker.
    """

    def __init__(
        self, stack: ExitStack, directory: Path, day: Day, n_events: int, settings: dict[str, str]
    ) -> None:
        sizes = {"max_items": day.max_items, "max_users": 2 * day.n_users + 1_000}
        self._day, self._n_events = day, n_events
        self._place = Place(stack, directory, {name: str(size) for name, size in sizes.items()} | settings)
        self._watch = Watch(self._place)
        self._n_sent = 0  # interactions
        self._looked_s = 0.0
        # to be sent when so much was read
        self._leaving: deque[tuple[Counter[tuple[str, int]], Sent]] = deque()
        self._last_seen: dict[str, tuple[str, int, int]] = {}
        self._done = Counter[str]()

    def run(self, faults: list[tuple[int, str]]) -> dict[str, Any]:
        """The day, with these faults; what is to be said of it."""
        place, day, began_s = self._place, self._day, time.monotonic()
        for message in day.opening():
            place.send(message)
        self._until("ready", place.worker.is_ready, START_TIMEOUT_S)
        day_began_s = time.monotonic()
        for block in day.blocks():
            self._send(block)
            while faults and self._n_sent >= faults[0][0]:
                self._suffer(faults.pop(0)[1])
        for _, name in faults:
            self._suffer(name)
        self._evening()
        day_s = time.monotonic() - day_began_s
        found = [*checks.positions(place, place.n_sent), *checks.lists(place, day.ledger, self._last_seen)]
        place.worker.stop()
        found += checks.accounted(day.ledger, place.worker.final_report(), place.dead_letters())
        return self._document(found, day_s, began_s)

    def _send(self, block: Block) -> None:
        before = set[Sent]()
        for message in block.messages:
            where = self._place.send(message)
            if message.topic == "interactions" and message.key != b"broken":
                self._n_sent += 1
                if message not in before:  # a duplicate renews no list
                    user_id = message.key.decode()
                    self._last_seen.pop(user_id, None)  # the one who came last lies last
                    self._last_seen[user_id] = where
                    before.add(message)
        self._leaving += [(self._place.n_sent.copy(), message) for message in block.leaving]
        self._turn()
        self._until("reading", lambda: not self._place.is_full())

    def _turn(self) -> None:
        """Look around, when it is time, and let those go whose last message was read."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._place.look()
            self._watch.look(self._n_sent)
            while self._leaving and self._place.has_read(self._leaving[0][0]):
                self._place.send(self._leaving.popleft()[1])

    def _suffer(self, name: str) -> None:
        """One fault; the next comes when the worker is ready again."""
        FAULTS[name](self._place)
        self._done[name] += 1
        self._until("ready again", self._place.worker.is_ready, START_TIMEOUT_S)

    def _evening(self) -> None:
        """Everybody who leaves has left, and everything was read."""
        self._place.flush()
        self._until("leaving", lambda: not self._leaving)
        self._place.flush()
        self._until("reading to the end", lambda: self._place.has_read(self._place.n_sent))

    def _until(self, what: str, is_so: Callable[[], bool], timeout_s: float = STALL_TIMEOUT_S) -> None:
        began_s, n_unread = time.monotonic(), -1
        while not is_so():
            self._turn()
            if n_unread != self._place.n_unread:
                n_unread, began_s = self._place.n_unread, time.monotonic()
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"the worker got no further: {what}, {n_unread:,} records not committed")
            self._place.worker.is_ready()  # raises when the worker has ended, and says why
            time.sleep(PAUSE_S)

    def _document(self, found: list[checks.Check], day_s: float, began_s: float) -> dict[str, Any]:
        ledger, memory = self._day.ledger, self._watch.memory(self._n_events)
        growth = memory["worker_growth_beyond_copies_mib"]
        found.append(
            checks.Check(
                "memory beyond tables and a copy of them, second half, MiB",
                "flat",
                f"{growth:+.1f}",
                memory["is_flat"],
            )
        )
        return {
            "events": self._n_events,
            "seconds": {"day": round(day_s, 1), "all": round(time.monotonic() - began_s, 1)},
            "events_a_second": round(ledger.n_interactions / day_s, 1),
            "sent": {
                "interactions, each once": ledger.n_learned,
                "duplicates": ledger.n_duplicates,
                "late (of those)": ledger.n_late,
                "broken": ledger.n_broken,
                "catalog records": ledger.n_described,
                "items retired": len(ledger.retired),
                "users erased": len(ledger.erased),
            },
            "faults": dict(self._done),
            "errors": self._watch.errors(),
            "most_not_committed": max(sample.n_unread for sample in self._watch.samples),
            "memory": memory,
            "checks": [check._asdict() for check in found],
            "table": self._watch.rows(),
            "samples": [sample._asdict() for sample in self._watch.samples],
        }


def _markdown(document: dict[str, Any]) -> str:
    memory = document["memory"]
    pace = f"{document['seconds']['day']:,.0f} s, {document['events_a_second']:,.0f} a second"
    title = f"{document['events']:,} events in {pace}, seed {document['seed']}"
    named = [[what, f"{n:,}"] for part in ("sent", "faults", "errors") for what, n in document[part].items()]
    checked = [
        [c["what"], c["expected"], c["got"], "yes" if c["holds"] else "**NO**"] for c in document["checks"]
    ]
    grown = (
        f"Second half: worker {memory['worker_mean_mib']:,.0f} MiB on average, growth {memory['worker_growth_mib']:+.1f} MiB, "
        f"beyond its tables and the copy of a checkpoint {memory['worker_growth_beyond_copies_mib']:+.1f} MiB. "
        f"Most records not committed: {document['most_not_committed']:,}."
    )
    parts = [
        f"# Soak: {title}",
        markdown(HEADER, document["table"]),
        grown,
        markdown(["sent, suffered, failed", "n"], named),
    ]
    return "\n\n".join([*parts, markdown(["check", "expected", "got", "holds"], checked)]) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench/soak: {exc}") from exc
