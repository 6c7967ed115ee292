"""Whatever was done to a worker: it ends with what its log of folds comes to from nothing, and with every message once."""

import json
from typing import Any

from shop import (
    Poll,
    Shop,
    Watch,
    everything,
    folded,
    histories,
    logged_batches,
    settings_of,
    wait_until_read,
)
from workers import Worker

from streamer.ports import Fold


def wait_until_at_rest(worker: Worker, watch: Watch, poll_until: Poll) -> None:
    """Wait until a worker that is live has folded the whole log, and no text is still to come to it."""
    wait_until_read(worker, watch, everything(worker), poll_until)
    poll_until(lambda: "\nstreamer_text_backlog 0.0\n" in worker.get("/metrics")[1], what="all texts")
    wait_until_read(worker, watch, everything(worker), poll_until)  # with the texts that came last


def ends_equal(worker: Worker, watch: Watch, shop: Shop, poll_until: Poll) -> dict[str, Any]:
    """End a worker that is live once it has folded the whole log, and compare; its report.

    Hash and report are those of the batches it logged, folded from nothing; the spans of these hold every record once. What no
    order changes is that of any other order. The shop is closed.
    """
    poll_until(lambda: worker.get("/ready")[0] == 200, timeout_s=60, what="readiness")
    wait_until_at_rest(worker, watch, poll_until)
    assert worker.end() == 0
    watch.close()
    records = everything(worker)  # with the texts that came last
    settings = settings_of(worker)
    state, expected = folded(settings, logged_batches(watch.seen, records))
    found: dict[str, Any] = json.loads(worker.report_path.read_text())
    del found["timing"]
    assert found == expected

    topics = sorted(records, key=lambda tp: tp.topic == settings.topic_interactions)  # those last
    undisturbed, plain = folded(settings, [(records[tp], Fold(0, (), 0)) for tp in topics])
    assert found["events"] == plain["events"] == shop.n_interactions
    assert found["counted"] == plain["counted"] > 1000
    assert histories(state) == histories(undisturbed)
    return found
