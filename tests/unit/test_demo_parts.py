"""The demo's own parts: it reads metrics right, never outruns the worker, and shows data as data."""

import io
import math
from collections import Counter, deque
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from streamer.adapters.memory import SystemClock
from streamer.client import Recommendation, RecommendationList
from streamer.datasets import load
from streamer.demo import ending, feed, view, worker
from streamer.demo.worker import Snapshot, parse_metrics, quantile
from streamer.errors import Unavailable
from streamer.telemetry import Telemetry

TOPICS = {"catalog": "c", "profiles": "p", "interactions": "i"}


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, [(1.0, 0.0), (2.0, 10.0), (math.inf, 10.0)], 1.5),
        (1.0, [(1.0, 4.0), (2.0, 8.0), (math.inf, 8.0)], 2.0),
        (0.25, [(1.0, 4.0), (2.0, 8.0), (math.inf, 8.0)], 0.5),
        (0.99, [(1.0, 1.0), (math.inf, 100.0)], 1.0),  # beyond the last finite bound: that bound
    ],
)
def test_quantile_is_linear_within_a_bucket(
    q: float, buckets: list[tuple[float, float]], expected: float
) -> None:
    """As Prometheus computes it, worked out by hand."""
    assert quantile(q, buckets) == pytest.approx(expected)


def test_quantile_of_nothing_is_not_a_number() -> None:
    """No observation yet: the view shows a dash, not zero milliseconds."""
    assert math.isnan(quantile(0.5, []))
    assert math.isnan(quantile(0.5, [(1.0, 0.0), (math.inf, 0.0)]))


class FakeLog:
    """A log with a reader that reads `speed` messages a tick, and notes how far behind it ever was."""

    def __init__(self, speed: int) -> None:
        self.speed = speed
        self.sent: list[tuple[str, bytes]] = []
        self.n_read: Counter[str] = Counter()
        self.most_ahead = 0

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Take a message."""
        assert value
        self.sent.append((topic, key))
        n_ahead = sum(1 for sent, _ in self.sent if sent == topic) - self.n_read[topic]
        self.most_ahead = max(self.most_ahead, n_ahead)

    def flush(self, timeout_s: float) -> None:
        """Nothing is ever queued."""

    def close(self) -> None:
        """Nothing to leave."""

    def tick(self) -> None:
        """The reader reads on, topic by topic."""
        for topic, n_sent in Counter(topic for topic, _ in self.sent).items():
            self.n_read[topic] = min(n_sent, self.n_read[topic] + self.speed)


def write_set(directory: Path, n_events: int) -> Path:
    """A set of three items, two users and `n_events` events."""
    (directory / "items.csv").write_text("item_id,title\na,A\nb,B\nc,C\n")
    (directory / "users.csv").write_text("user_id,country\nu0,NO\nu1,SE\n")
    rows = "".join(f"u{n % 7},{'abc'[n % 3]},1,{100 + n}\n" for n in range(n_events))
    (directory / "events.csv").write_text("user_id,item_id,value,timestamp\n" + rows)
    return directory


def test_feed_never_outruns_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most MAX_AHEAD messages are unread, however slow the worker (plus the few between two looks)."""
    monkeypatch.setattr(feed, "MAX_AHEAD", 100)
    log = FakeLog(speed=40)
    dataset = load(write_set(tmp_path, 1000), catalog_first=True)
    feeding = feed.Feed(dataset, log, TOPICS, lambda: log.n_read, log.tick)
    feeding.run()
    assert len(log.sent) == 1005
    assert log.most_ahead <= 100 + feed.SENDS_A_TICK


def test_feed_sends_a_kind_only_when_the_one_before_was_read(tmp_path: Path) -> None:
    """Catalog, profiles, interactions: a worker reads by topic and must not meet an event before its item."""
    log = FakeLog(speed=1)
    dataset = load(write_set(tmp_path, 20), catalog_first=True)
    feed.Feed(dataset, log, TOPICS, lambda: log.n_read, log.tick).run()
    assert [topic for topic, _ in log.sent] == ["c"] * 3 + ["p"] * 2 + ["i"] * 20
    assert log.n_read == Counter(c=3, p=2, i=20)


def test_feed_sends_no_event_before_the_texts_of_the_catalog_have_vectors(tmp_path: Path) -> None:
    """Else how fast the text model is would decide what the first lists can use, and no two demos would be equal."""
    log = FakeLog(speed=10)
    dataset = load(write_set(tmp_path, 20), catalog_first=True)
    n_texts = [5]

    def tick() -> None:
        log.tick()
        if log.n_read["c"] == 3 and n_texts[0]:
            assert log.sent[3:] == []
            n_texts[0] -= 1

    feed.Feed(dataset, log, TOPICS, lambda: log.n_read, tick, n_texts=lambda: n_texts[0]).run()
    assert n_texts == [0]
    assert len(log.sent) == 25


def test_feed_limits_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts count by their bytes: the embedded log is bounded in bytes, not in messages."""
    monkeypatch.setattr(feed, "MAX_AHEAD_BYTES", 10_000)
    log = FakeLog(speed=10)
    dataset = load(write_set(tmp_path, 1000), catalog_first=True)
    feed.Feed(dataset, log, TOPICS, lambda: log.n_read, log.tick).run()
    mean_bytes = 100  # an event of this set is a little longer than that
    assert log.most_ahead <= 10_000 // mean_bytes + feed.SENDS_A_TICK


def test_feed_gives_up_on_a_worker_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless wait: an error says how many messages wait and for how long."""
    monkeypatch.setattr(feed, "STALL_TIMEOUT_S", 0.05)
    log = FakeLog(speed=0)
    dataset = load(write_set(tmp_path, 5), catalog_first=True)
    with pytest.raises(Unavailable, match="read none of 3 waiting catalog messages"):
        feed.Feed(dataset, log, TOPICS, lambda: log.n_read, log.tick).run()


def test_feed_gives_up_on_texts_that_nobody_embeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All messages are read then, so the error names the texts."""
    monkeypatch.setattr(feed, "STALL_TIMEOUT_S", 0.05)
    log = FakeLog(speed=1000)
    dataset = load(write_set(tmp_path, 5), catalog_first=True)
    with pytest.raises(Unavailable, match="embedded none of 7 texts"):
        feed.Feed(dataset, log, TOPICS, lambda: log.n_read, log.tick, n_texts=lambda: 7).run()


@pytest.mark.parametrize(("rate", "n_at_once"), [(20.0, 1), (1000.0, 5), (1e6, 64)])
def test_feed_keeps_to_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, n_at_once: int
) -> None:
    """No event goes before its time, but for those that fall into the same five milliseconds: bursts are no rate."""
    clock = {"s": 0.0}
    monkeypatch.setattr(feed.time, "monotonic", lambda: clock["s"])
    monkeypatch.setattr(feed.time, "sleep", lambda s: clock.update(s=clock["s"] + max(s, 1e-6)))
    log, sent_s = FakeLog(speed=1000), list[float]()

    class Timed:
        def send(self, topic: str, key: bytes, value: bytes) -> None:
            if topic == TOPICS["interactions"]:
                sent_s.append(clock["s"])
            log.send(topic, key, value)

        def flush(self, timeout_s: float) -> None: ...

    dataset = load(write_set(tmp_path, 256), catalog_first=True)
    feed.Feed(dataset, Timed(), TOPICS, lambda: log.n_read, log.tick, rate=rate).run()
    assert len(sent_s) == 256
    assert all(when_s >= (n - n % n_at_once) / rate - 1e-9 for n, when_s in enumerate(sent_s))


def rendered(renderable: object, width: int = 120) -> str:
    """What a console would print."""
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_titles_that_look_like_markup_are_shown_as_they_are() -> None:
    """Ids and titles are data: no style, no link, no error and no escape sequence comes from them."""
    evil = "[/red][bold]SALE[/bold]\x1b[31m"
    seen = r"[/red][bold]SALE[/bold]\x1b[31m"
    progress = view.Progress(title="t", n_events=10, n_done=3)
    progress.user = view.WatchedUser(evil, 3, last_items=[evil], listed=[(evil, "sequence")])
    assert rendered(view.page(progress)).count(seen) == 3
    report = {
        "users": [
            {
                "user_id": evil,
                "n_events": 1,
                "last_items": [{"id": evil, "title": ""}],
                "list": [{"id": "x", "title": evil, "score": 0.5, "path": "fresh"}],
                "fallback": False,
            }
        ]
    }
    console = Console(file=io.StringIO(), width=120)
    ending.users(console, report)
    assert console.file.getvalue().count(seen) == 3  # type: ignore[attr-defined]


def test_line_shows_what_is_known_and_a_dash_for_the_rest() -> None:
    """Before the first event there is no speed and no latency to show; nothing is invented."""
    progress = view.Progress(title="t", n_events=1000, stage="starting")
    assert view.line(progress) == "starting: 0 of 1,000 events"
    progress.n_done = 1
    assert view.line(progress) == "starting: 1 of 1,000 events, -/s, lag 0, event to list p50 - ms p99 - ms"
    progress.n_done = 500
    progress.lag = 7
    progress.events_a_second = 1234.0
    progress.snapshot = Snapshot(p50_ms=1.0, p99_ms=20.0, hit_ratios={"streamer": 0.25, "trending": math.nan})
    assert view.line(progress) == (
        "starting: 500 of 1,000 events, 1,234/s, lag 7, event to list p50 1.0 ms p99 20.0 ms, "
        "hit ratio@10 streamer-fresh=0.250"
    )


@pytest.mark.parametrize(("rate", "explains"), [(None, True), (200.0, False)])
def test_the_end_says_how_soon_lists_followed(rate: float | None, explains: bool) -> None:
    """Where events came in a flood it says what the figure means, since it is no latency; without a figure, nothing."""
    console = Console(file=io.StringIO(), width=300)
    ending.timing(console, {"timing": {"event_to_list_p50_ms": 1501.7, "event_to_list_p99_ms": 2951.2}}, rate)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "event to list: p50 1,501.7 ms, p99 2,951.2 ms" in printed
    assert ("time in a queue" in printed) == explains
    console = Console(file=io.StringIO())
    ending.timing(console, {"timing": {"event_to_list_p50_ms": None, "event_to_list_p99_ms": None}}, rate)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_speed_is_measured_over_the_last_seconds() -> None:
    """1,000 events in the first second and 10 a second since: after six more the speed is 10."""
    speed = view.Speed()
    assert math.isnan(speed.update(0.0, 0))
    assert speed.update(1.0, 1000) == pytest.approx(1000.0)
    for second in range(2, 8):
        latest = speed.update(float(second), 1000 + 10 * (second - 1))
    assert latest == pytest.approx(10.0)


def test_speed_after_a_pause_is_measured_over_the_pause() -> None:
    """A worker that was not asked for long still has a speed: 50 in 100 seconds."""
    speed = view.Speed()
    speed.update(0.0, 0)
    assert speed.update(100.0, 50) == pytest.approx(0.5)


def test_one_user_is_watched_until_another_is_clearly_more_active(tmp_path: Path) -> None:
    """a, a, a, b, b, b: as active is not enough; the fourth of b is over a fifth more than three."""
    (tmp_path / "items.csv").write_text("item_id,title\nx,X\n")
    rows = "".join(f"{user},x,1,{n}\n" for n, user in enumerate("aaabbbb"))
    (tmp_path / "events.csv").write_text("user_id,item_id,value,timestamp\n" + rows)
    log, watched = FakeLog(speed=10), list[str | None]()
    feeding = feed.Feed(load(tmp_path, catalog_first=True), log, TOPICS, lambda: log.n_read, log.tick)

    def send(topic: str, key: bytes, value: bytes) -> None:
        watched.append(feeding.active_user)
        FakeLog.send(log, topic, key, value)

    log.send = send  # type: ignore[method-assign]  # looks before each message is taken
    feeding.run()
    assert watched == [None, None, *"aaaaaa"]
    assert feeding.active_user == "b"


def test_the_worker_of_the_demo_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the environment of who starts the demo are none of the worker's, in whatever case they are written."""
    monkeypatch.setenv("STREAMER_K", "3")
    monkeypatch.setenv("streamer_repeats", "true")
    monkeypatch.setenv("OTHER", "kept")
    own = worker._without_settings()
    assert own["OTHER"] == "kept"
    assert not [name for name in own if name.upper().startswith("STREAMER_")]


def test_three_users_are_the_most_active_one_in_the_middle_and_the_least(tmp_path: Path) -> None:
    """Newest item first, titles where there are any, and the path of each listed item."""
    n_events_of = Counter({"often": 9, "some": 4, "rare": 1})
    last_items_of = {user_id: deque(["a", "b"], maxlen=5) for user_id in n_events_of}
    found = RecommendationList((Recommendation("c", 0.5, "fresh"),), 1.0, fallback=False, model="m")
    users = ending.three_users(n_events_of, last_items_of, {"a": "A", "c": "C"}, lambda _: found)
    assert [user["user_id"] for user in users] == ["often", "some", "rare"]
    assert users[0] == {
        "user_id": "often",
        "n_events": 9,
        "last_items": [{"id": "b", "title": ""}, {"id": "a", "title": "A"}],
        "list": [{"id": "c", "title": "C", "score": 0.5, "path": "fresh"}],
        "fallback": False,
    }
    assert ending.three_users(Counter(), {}, {}, lambda _: found) == []
    equals = Counter({"c": 1, "a": 1, "b": 1})
    chosen = ending.three_users(equals, {user_id: deque() for user_id in equals}, {}, lambda _: found)
    assert [user["user_id"] for user in chosen] == ["a", "b", "c"]  # by id, not by who came first


def test_metrics_are_read_from_the_worker_s_own_exposition() -> None:
    """Held against the real registry, so that a renamed metric is noticed here."""
    telemetry = Telemetry(SystemClock())
    telemetry.events.labels("interactions", "learned").inc(5)
    telemetry.events.labels("interactions", "invalid").inc(2)
    telemetry.events.labels("catalog", "learned").inc(3)
    telemetry.dead_letters.labels("json").inc(2)
    telemetry.text_backlog.set(4)
    telemetry.event_to_list.observe(0.004, 9, "received")
    telemetry.event_to_list.observe(60.0, 99, "event_time")
    telemetry.hit_ratio.labels("streamer", "total", "all").set(0.25)
    telemetry.hit_ratio.labels("streamer", "1000", "all").set(0.75)
    telemetry.hit_ratio.labels("streamer", "total", "cold_users").set(0.5)
    snapshot = parse_metrics(generate_latest(telemetry.registry).decode())
    assert snapshot.n_read == {"interactions": 7, "catalog": 3}
    assert snapshot.n_dead_letters == 2
    assert snapshot.n_texts == 4
    assert snapshot.p50_ms == pytest.approx(3.5)  # the bucket from 3 to 4 ms, half way
    assert snapshot.hit_ratios == {"streamer": 0.25}


def test_metrics_that_are_not_there_yet_keep_their_defaults() -> None:
    """A worker that has just started exposes nothing of ours."""
    assert parse_metrics("").n_read == {}
    assert math.isnan(parse_metrics("# HELP other x\n# TYPE other counter\nother_total 3\n").p99_ms)
