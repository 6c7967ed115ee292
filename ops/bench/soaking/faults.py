"""What goes wrong on the day: all kinds in turn, at seeded moments."""

import random
from collections.abc import Callable, Iterator

from soaking.place import Place

SLOW_MS = 500


def _kill(place: Place) -> None:
    place.worker.kill()
    place.start()


def _restart(place: Place) -> None:
    place.worker.stop()
    place.start()


def _redis_killed(place: Place) -> None:
    place.redis.stop(kill=True)
    place.redis.start()


def _redis_emptied(place: Place) -> None:
    with place.client() as client:
        client.flushall()
    _redis_killed(place)
    # lists of those who do nothing are made again by a start, which reads the checkpoint and the log
    _restart(place)


def _connections_cut(place: Place) -> None:
    with place.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _redis_slow(place: Place) -> None:
    with place.client() as client:
        client.execute_command("CLIENT", "PAUSE", SLOW_MS)


def _kafka_away(place: Place) -> None:
    place.kafka.stop()
    place.kafka.start()


FAULTS: dict[str, Callable[[Place], None]] = {
    "worker killed (SIGKILL)": _kill,
    "Redis killed, started with its data": _redis_killed,
    "connections to Redis cut": _connections_cut,
    "worker restarted (SIGTERM)": _restart,
    "Kafka away, connections cut": _kafka_away,
    "Redis answers in 500 ms": _redis_slow,
    "Redis killed, started empty; worker restarted": _redis_emptied,
}


def schedule(n_faults: int, n_events: int, seed: int) -> Iterator[tuple[int, str]]:
    """(after how many events, which), ascending: spread over the day from its 20th part on, each moved at random."""
    rng = random.Random(seed)
    names = list(FAULTS)
    for number in range(n_faults):
        share = 0.05 + 0.93 * (number + rng.random()) / n_faults
        yield int(share * n_events), names[number % len(names)]
