"""Metrics, and the port that shows them."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import get_args

import numpy as np
import pytest
from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from streamer.adapters.memory import ManualClock
from streamer.errors import REASONS, ConfigError, Unavailable
from streamer.pipeline.delivery import Why
from streamer.telemetry import BatchHistogram, MetricsServer, Telemetry, describe, server

Get = Callable[[str], tuple[int, str]]


@pytest.fixture
def clock() -> ManualClock:
    """Moves when told to."""
    return ManualClock()


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    """Metrics of one worker."""
    return Telemetry(clock, live_timeout_s=60)


@pytest.fixture
def get(telemetry: Telemetry) -> Iterator[Get]:
    """GET a path from the port of `telemetry`."""
    with MetricsServer(telemetry, "127.0.0.1", 0, lambda: {"k": 10}) as server:

        def get_(path: str) -> tuple[int, str]:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        yield get_


def test_metrics_are_served(telemetry: Telemetry, get: Get) -> None:
    """/metrics is an exposition that Prometheus' own parser reads."""
    telemetry.events.labels("catalog", "learned").inc(3)
    telemetry.step.observe(0.002)
    status, body = get("/metrics")
    assert status == 200
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
    assert samples["streamer_events_total", "learned", "catalog"] == 3
    assert samples["streamer_step_seconds_count",] == 1
    assert samples["streamer_step_seconds_bucket", "0.0025"] == 1
    assert samples["streamer_step_seconds_bucket", "0.001"] == 0


def test_metrics_may_be_asked_for_by_name(telemetry: Telemetry, get: Get) -> None:
    """These samples and no others, and where there is none of a name nothing: whoever asks often asks for little."""
    telemetry.events.labels("catalog", "learned").inc(3)
    telemetry.step.observe(0.002)
    lines = get("/metrics?name[]=streamer_events_total&name[]=streamer_step_seconds_count")[1].splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == [
        'streamer_events_total{outcome="learned",topic="catalog"} 3.0',
        "streamer_step_seconds_count 1.0",
    ]
    assert get("/metrics?name[]=nothing") == (200, "")


def test_a_worker_catches_up_until_it_says_otherwise(telemetry: Telemetry, get: Get) -> None:
    """Also before its loop begins: no figure reads as if it were live."""
    assert "\nstreamer_catching_up 1.0\n" in get("/metrics")[1]


def test_every_metric_is_described(telemetry: Telemetry) -> None:
    """Each has a meaning, and its unit where it has one; none is registered without being described."""
    described = {metric.name: metric for metric in describe()}
    registered = {
        family.name
        for family in telemetry.registry.collect()
        if not family.name.startswith("process_")  # the library's own
    }
    # the library takes `_total` off a counter's family name
    assert registered == {name.removesuffix("_total") for name in described}
    for metric in described.values():
        assert re.fullmatch(r"streamer_[a-z_]+", metric.name)
        assert len(metric.meaning) > 10, metric
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        for unit in ("second", "byte"):
            assert (unit in metric.name) == (f"{unit}s" in metric.meaning), metric


def _samples(histogram: BatchHistogram) -> list[Sample]:
    (family,) = histogram.collect()
    return list(family.samples)


def test_waits_of_days_have_buckets(telemetry: Telemetry) -> None:
    """An item that is listed after three days is told from one that waited an hour."""
    telemetry.item_to_list.observe(3 * 86_400)
    telemetry.item_to_list.observe(3_000)
    n_within = {sample.labels.get("le"): sample.value for sample in _samples(telemetry.item_to_list)}
    assert [n_within[str(float(bound))] for bound in (900, 3_600, 86_400, 7 * 86_400)] == [0, 1, 1, 2]


def test_ready_says_why_not(telemetry: Telemetry, get: Get) -> None:
    """503 while catching up and while a dependency is away, with the reasons; 200 afterwards."""
    assert get("/ready") == (503, "catching up with the log\n")
    telemetry.health.away("redis", "no route to secret-host")
    telemetry.health.catching_up = False
    assert get("/ready") == (503, "redis is away\n")
    telemetry.health.back("redis")
    assert get("/ready") == (200, "ok\n")


def test_live_follows_the_main_loop(telemetry: Telemetry, clock: ManualClock, get: Get) -> None:
    """Compiling before the loop begins is no hang, whoever was waited for; not turning for longer than the limit is."""
    telemetry.health.turn()
    clock.advance(1000)
    assert get("/live")[0] == 200
    telemetry.health.begin()
    clock.advance(60)
    assert get("/live")[0] == 200
    clock.advance(0.1)
    assert get("/live") == (503, "the main loop does not turn\n")
    telemetry.health.turn()
    assert get("/live")[0] == 200


def test_the_loop_s_age_is_a_metric(telemetry: Telemetry, clock: ManualClock) -> None:
    """A loop that hangs sets no gauge: its age is made when it is asked for."""
    age_s = lambda: telemetry.registry.get_sample_value("streamer_loop_age_seconds")  # noqa: E731
    clock.advance(1000)
    assert age_s() == 0
    telemetry.health.begin()
    clock.advance(130)
    assert age_s() == 130
    telemetry.health.turn()
    assert age_s() == 0


def test_who_is_away_is_a_metric(telemetry: Telemetry) -> None:
    """1 for as long as it lasts, and there from the start: a counter of failed calls stays where it was afterwards."""

    def away() -> list[float | None]:
        return [
            telemetry.registry.get_sample_value("streamer_dependency_away", {"dependency": dependency})
            for dependency in ("kafka", "redis", "checkpoints")
        ]

    assert away() == [0, 0, 0]
    telemetry.health.away("redis", "no route")
    assert away() == [0, 1, 0]
    telemetry.health.back("redis")
    assert away() == [0, 0, 0]


def test_counters_are_there_before_there_is_anything_to_count(telemetry: Telemetry) -> None:
    """A series that begins with its first burst has not grown: Prometheus sees no rate in it, and alerts are silent."""
    telemetry.begin(["interactions", "catalog"])
    value = telemetry.registry.get_sample_value
    for topic in ("interactions", "catalog"):
        assert value("streamer_log_gaps_total", {"topic": topic}) == 0
        for outcome in ("learned", "invalid", *get_args(Why)):
            assert value("streamer_events_total", {"topic": topic, "outcome": outcome}) == 0
    for reason in REASONS:
        assert value("streamer_dead_letters_total", {"reason": reason}) == 0
    assert value("streamer_unavailable_total", {"dependency": "redis"}) == 0


def test_the_process_is_told_of(get: Get) -> None:
    """When it began says whether it begins again and again."""
    assert "\nprocess_start_time_seconds " in get("/metrics")[1]


def test_report_and_unknown_paths(get: Get) -> None:
    """/report is JSON; what is not there is 404, whatever is asked for."""
    status, body = get("/report")
    assert (status, json.loads(body)) == (200, {"k": 10})
    for path in ("/", "/metricsx", "/../etc/passwd", "/" + "x" * 10_000):
        assert get(path)[0] == 404


def test_a_head_is_answered_without_a_body(telemetry: Telemetry) -> None:
    """Some probes ask so: status and length of what GET gives."""
    with MetricsServer(telemetry, "127.0.0.1", 0) as server_:
        for path, status in (("/live", 200), ("/ready", 503), ("/nowhere", 404)):
            connection = HTTPConnection("127.0.0.1", server_.port, timeout=5)
            connection.request("HEAD", path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (status, b"")
            assert int(response.headers["Content-Length"]) > 0
            connection.close()


@pytest.mark.parametrize("host", ["::1", "::"])
def test_addresses_of_ipv6_are_listened_on(telemetry: Telemetry, host: str) -> None:
    """As Kubernetes with IPv6 alone wants it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as exc:
        pytest.skip(f"no IPv6 here: {exc}")
    with MetricsServer(telemetry, host, 0) as server_:
        connection = HTTPConnection("::1", server_.port, timeout=5)
        connection.request("GET", "/live")
        assert connection.getresponse().status == 200
        connection.close()


def test_reports_are_made_one_at_a_time(telemetry: Telemetry) -> None:
    """Who asks meanwhile, and who asks a worker that cannot make one, is told why; the next is answered."""
    asked: list[tuple[int, bytes]] = []

    def ask() -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", server_.port, timeout=5)
        connection.request("GET", "/report")
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def report() -> dict[str, int]:
        if not asked:
            asked.append(ask())
        elif len(asked) == 1:
            raise Unavailable("no batch ended")
        return {"k": 10}

    with MetricsServer(telemetry, "127.0.0.1", 0, report) as server_:
        assert ask()[0] == 200
        assert asked == [(503, b"another report is being made; ask again\n")]
        assert ask() == (503, b"no batch ended\n")
        asked *= 2
        assert ask()[0] == 200


def test_without_a_report_there_is_none(telemetry: Telemetry) -> None:
    """/report exists only where somebody makes one."""
    with MetricsServer(telemetry, "127.0.0.1", 0) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/report")
        assert connection.getresponse().status == 404
        connection.close()


def test_a_port_in_use_is_a_sentence(telemetry: Telemetry) -> None:
    """Somebody else's port is a ConfigError that names address and flag."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: cannot listen there.*--metrics-port"):
            MetricsServer(telemetry, "127.0.0.1", port)
    with pytest.raises(ConfigError, match="expected an address of this machine in --metrics-host"):
        MetricsServer(telemetry, "192.0.2.1", 0)


def test_a_client_that_says_nothing_keeps_no_thread(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is hung up on after some seconds; here sooner."""
    assert isinstance(server._Handler.timeout, float)
    assert server._Handler.timeout <= 10.0
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with (
        MetricsServer(telemetry, "127.0.0.1", 0) as listening,
        socket.create_connection(("127.0.0.1", listening.port), timeout=10.0) as client,
    ):
        assert client.recv(1) == b""


def test_the_port_is_free_again_after_close(telemetry: Telemetry) -> None:
    """A restart finds its port."""
    with MetricsServer(telemetry, "127.0.0.1", 0) as server:
        port = server.port
    with MetricsServer(telemetry, "127.0.0.1", port) as server:
        assert server.port == port


def test_each_observation_is_in_its_bucket_and_those_above() -> None:
    """A bound belongs to its bucket; what is beyond the last one is in the one without."""
    histogram = BatchHistogram("h", "h", None, (1.0, 2.0, 4.0))
    assert _samples(histogram) == []
    histogram.observe(1.5, 8)
    histogram.observe(4.0, 2)
    histogram.observe(99.0, 1000)
    n_within = {sample.labels["le"]: sample.value for sample in _samples(histogram) if sample.labels}
    assert n_within == {"1.0": 0, "2.0": 8, "4.0": 10, "+Inf": 1010}


def test_many_observations_at_once_equal_one_by_one() -> None:
    """`n` is a shorthand."""
    at_once, one_by_one = (BatchHistogram("h", "h", "origin", (0.1, 1.0)) for _ in range(2))
    at_once.observe(0.5, 3, "a")
    at_once.observe(5.0, 2, "b")
    for value, label in [(0.5, "a")] * 3 + [(5.0, "b")] * 2:
        one_by_one.observe(value, 1, label)
    assert [family.samples for family in at_once.collect()] == [
        family.samples for family in one_by_one.collect()
    ]
    (family,) = at_once.collect()
    assert ("h_sum", {"origin": "b"}, 10.0) in [sample[:3] for sample in family.samples]


def test_different_observations_at_once_equal_one_by_one() -> None:
    """A value that equals a bound belongs below it; an empty array changes no figure."""
    values = np.array([0.05, 0.1, 0.1000001, 1.0, 7.0, 0.0])
    at_once, one_by_one = (BatchHistogram("h", "h", "origin", (0.1, 1.0)) for _ in range(2))
    at_once.observe_many(values, "a")
    at_once.observe_many(values[:0], "a")
    for value in values.tolist():
        one_by_one.observe(value, 1, "a")
    for left, right in zip(*(next(iter(h.collect())).samples for h in (at_once, one_by_one)), strict=True):
        assert left[:2] == right[:2]
        assert left.value == pytest.approx(right.value)
