"""kill -9 at any moment: the state that a worker ends with is that of the batches it logged, folded from nothing."""

import random
import signal
import time
from typing import Any

import pytest
from equality import ends_equal
from shop import N_KILLS, OFTEN, SETTINGS, START_TIMEOUT_S, Poll, Shop, Watch, wait_until_live

SEED = 11

pytestmark = pytest.mark.timeout(200 + 25 * N_KILLS)


@pytest.mark.parametrize("shop_kafka", ["mock", pytest.param("real", marks=pytest.mark.kafka)], indirect=True)
def test_any_kill_is_survived(
    make_shop_worker: Any, shop: Shop, redis_url: str, prefix: str, poll_until: Poll
) -> None:
    """Killed again and again, at any moment: hash and report of the batches it logged; what no order changes, of any order."""
    rng, worker, watch = random.Random(SEED), make_shop_worker(redis_url), Watch(redis_url, prefix)
    shop.open()
    n_restored = n_refolded = 0
    for n in range(N_KILLS):
        worker.start(**SETTINGS, **OFTEN)
        if n % 2 == 0:
            wait_until_live(worker, poll_until)
            time.sleep(rng.random() * 4)
        else:
            poll_until(lambda: worker.logged("metrics"), timeout_s=START_TIMEOUT_S)
            time.sleep(rng.random() * 2)
        worker.end(signal.SIGKILL)
        restored, refolded = worker.logged_at_all("restored"), worker.logged_at_all("refolded")
        n_restored += len(restored)
        if refolded:  # else it was killed before
            n_refolded += refolded[0]["n_batches"] - sum(line["n_batches"] for line in restored)
    shop.close()
    worker.start(**SETTINGS, **OFTEN)
    wait_until_live(worker, poll_until)
    ends_equal(worker, watch, shop, poll_until)
    assert n_restored + n_refolded > 0  # which of the two a kill leaves to be done is chance
    assert not worker.logged_at_all("refolding_ends")
