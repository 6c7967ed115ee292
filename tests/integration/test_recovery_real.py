"""What a start does when something is gone: the end of a worker, a checkpoint, Redis, the configuration it belongs to."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from equality import wait_until_at_rest
from shop import (
    OFTEN,
    SETTINGS,
    Poll,
    Shop,
    Watch,
    everything,
    folded,
    logged_batches,
    settings_of,
    wait_until_live,
)
from workers import Worker

from streamer.adapters.redis import RedisLists
from streamer.servers import EmbeddedRedis

pytestmark = pytest.mark.timeout(240)


def shut(shop: Shop, seconds: float) -> None:
    """Let the shop be open for a while."""
    shop.open()
    time.sleep(seconds)
    shop.close()


def end_all_read(worker: Worker, watch: Watch, poll_until: Poll) -> dict[str, Any]:
    """The report of a worker that is live now, once it has folded everything; ends it."""
    wait_until_at_rest(worker, watch, poll_until)
    assert worker.end() == 0
    watch.close()
    found: dict[str, Any] = json.loads(worker.report_path.read_text())
    del found["timing"]
    return found


def from_nothing(worker: Worker, watch: Watch, **settings: Any) -> dict[str, Any]:
    """The report that the log of folds comes to."""
    batches = logged_batches(watch.seen, everything(worker))
    return folded(settings_of(worker, **settings), batches)[1]


def test_a_worker_that_ends_leaves_nothing_to_repeat(
    make_shop_worker: Any, shop: Shop, redis_url: str, prefix: str, poll_until: Poll
) -> None:
    """SIGTERM keeps the state; the next one goes on from there, and from the records that came meanwhile."""
    worker, watch = make_shop_worker(redis_url), Watch(redis_url, prefix)
    shop.open()
    worker.start(**SETTINGS)
    wait_until_live(worker, poll_until)
    assert worker.end() == 0
    n_before = shop.n_interactions
    poll_until(lambda: shop.n_interactions >= n_before + 300, what="300 more interactions")
    shop.close()
    worker.start(**SETTINGS)
    wait_until_live(worker, poll_until)
    (restored,), (refolded,) = worker.logged("restored"), worker.logged("refolded")
    assert refolded["n_batches"] == restored["n_batches"] > 0
    assert (refolded["was_cut"], refolded["n_gone"]) == (False, 0)
    assert end_all_read(worker, watch, poll_until) == from_nothing(worker, watch)


def test_a_damaged_checkpoint_is_passed_over(
    make_shop_worker: Any, shop: Shop, redis_url: str, prefix: str, poll_until: Poll, tmp_path: Path
) -> None:
    """In a directory: one byte of the newest is another. The one before it and the batches since come to the same state."""
    worker, watch, kept = make_shop_worker(redis_url), Watch(redis_url, prefix), tmp_path / "checkpoints"
    # of a batch longer than two events a part is measured: which events that are is a matter of the batch, so of the log of folds
    settings = {**SETTINGS, **OFTEN, "checkpoint_url": str(kept), "max_measured": 2}
    worker.start(**settings)
    wait_until_live(worker, poll_until)
    shop.open()
    poll_until(lambda: len(worker.logged("checkpoint")) >= 3, timeout_s=60, what="three checkpoints")
    worker.kill()
    shop.close()
    own = kept / f"prefix={prefix}"
    names = [one["name"] for one in json.loads((own / "pointer.json").read_bytes())["checkpoints"]]
    newest = own / f"{names[0]}.checkpoint"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    worker.start(**settings)
    wait_until_live(worker, poll_until)
    (refused,) = worker.logged("checkpoint_refused")
    assert (refused["checkpoint"], "damaged" in refused["error"]) == (names[0], True)
    assert worker.logged("restored")[0]["n_batches"] == int(names[1].split("-")[1])
    assert not worker.logged("refolded")[0]["was_cut"]
    assert end_all_read(worker, watch, poll_until) == from_nothing(worker, watch)


def test_redis_may_be_lost_altogether(
    make_shop_worker: Any, shop: Shop, prefix: str, poll_until: Poll
) -> None:
    """Lists, checkpoints and the log of folds are gone: the log brings the state and the lists of all users back."""
    shut(shop, 2.0)
    with EmbeddedRedis() as lost:
        worker = make_shop_worker(lost.url)
        worker.start(**SETTINGS, **OFTEN)
        wait_until_live(worker, poll_until)
        poll_until(lambda: worker.logged("checkpoint"), what="a checkpoint")
        worker.kill()
    with EmbeddedRedis() as empty:
        worker, watch, lists = (
            make_shop_worker(empty.url),
            Watch(empty.url, prefix),
            RedisLists(empty.url, prefix),
        )
        worker.start(**SETTINGS, **OFTEN)
        wait_until_live(worker, poll_until)
        assert not worker.logged_at_all("restored")
        users = {
            record.key.decode() for tp, some in everything(worker).items() for record in some if tp.partition
        }
        assert len(users) > 50
        assert all(lists.read(user) is not None for user in users if user != "u")
        assert end_all_read(worker, watch, poll_until) == from_nothing(worker, watch)
        lists.close()


def test_checkpoints_elsewhere_outlive_redis(
    make_shop_worker: Any, shop: Shop, prefix: str, poll_until: Poll, tmp_path: Path
) -> None:
    """The state comes from the directory, what came since from the log: nothing is missing, nothing counts twice."""
    settings = {**SETTINGS, **OFTEN, "checkpoint_url": f"file://{tmp_path}/checkpoints"}
    with EmbeddedRedis() as lost:
        worker = make_shop_worker(lost.url)
        worker.start(**settings)
        wait_until_live(worker, poll_until)
        shop.open()
        poll_until(lambda: len(worker.logged("checkpoint")) >= 2, timeout_s=60, what="a checkpoint")
        worker.kill()
        shop.close()
    with EmbeddedRedis() as empty:
        worker = make_shop_worker(empty.url)
        worker.start(**settings)
        wait_until_live(worker, poll_until)
        assert worker.logged("restored")
        assert worker.end() == 0
        assert json.loads(worker.report_path.read_text())["events"] == shop.n_interactions


def test_another_configuration_begins_anew(
    make_shop_worker: Any, shop: Shop, redis_url: str, prefix: str, poll_until: Poll
) -> None:
    """A sentence says what differs; the log is folded from its beginning, and the next start finds its checkpoint."""
    shut(shop, 1.0)
    worker = make_shop_worker(redis_url)
    worker.start(**SETTINGS)
    wait_until_live(worker, poll_until)
    assert worker.end() == 0
    other = {**SETTINGS, "max_items": 3000}
    for n in range(2):
        worker.start(**other)
        wait_until_live(worker, poll_until)
        assert len(worker.logged_at_all("restored")) == n
        if not n:
            sentence = worker.logged("checkpoint_refused")[0]["error"]
            assert sentence == "it belongs to another configuration: max_items was 2000 and is 3000"
        assert worker.end() == 0
        assert json.loads(worker.report_path.read_text())["events"] == shop.n_interactions
