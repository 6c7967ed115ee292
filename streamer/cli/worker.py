"""`streamer run`: the object graph of a worker, its signals, and its end."""

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from streamer.adapters.file_checkpoints import FileCheckpoints
from streamer.adapters.memory import SystemClock
from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.checkpoints import RedisCheckpoints
from streamer.adapters.redis.folds import RedisFolds
from streamer.adapters.redis.receipts import RedisReceipts
from streamer.adapters.redis.texts import RedisTextCache
from streamer.adapters.redis.vectors import RedisVectors
from streamer.adapters.text_model import check_text_model
from streamer.adapters.text_process import TextProcess
from streamer.cli.connect import on_redis, sink_of, source_of
from streamer.cli.views import write_report
from streamer.config import Settings
from streamer.ports import Checkpoints
from streamer.propagate.learner import Learner
from streamer.runner import CheckpointPorts, Runner, TextPorts
from streamer.telemetry import MetricsServer, Telemetry
from streamer.training import ThreadTrainer

# A batch is tens of thousands of objects, and none of them is in a cycle: looking for cycles every 700 of them finds nothing.
_GC_THRESHOLDS = 100_000, 20, 50
_SINK_TIMEOUT_S = 30.0  # nobody waits at a terminal: a broker may take its time

_log = logging.getLogger(__name__)

# How long another thread may hold the interpreter while a list waits: reading ahead and training run beside the fold, which
# gives the interpreter up at every call of numpy. With Python's own 5 ms it stands still for most of a batch.
SWITCH_INTERVAL_S = 0.0001


def work(settings: Settings, report: Path | None) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal does not wait for that.

    Raises:
        StreamerError: as `Runner.run`, and where the metrics port cannot be had.
    """
    stop = threading.Event()
    clock = SystemClock()
    telemetry = Telemetry(clock, settings.live_timeout_s)
    with ExitStack() as stack:
        source = source_of(settings, settings.kinds())
        stack.callback(source.close)
        sink = sink_of(settings, timeout_s=_SINK_TIMEOUT_S)
        lists = on_redis(RedisLists, settings)
        stack.callback(lists.close)
        vectors = on_redis(RedisVectors, settings)
        stack.callback(vectors.close)
        receipts = on_redis(RedisReceipts, settings)
        stack.callback(receipts.close)
        text_ports = _text_ports(settings)
        checkpoint_ports = _checkpoint_ports(settings)
        if checkpoint_ports is not None:
            stack.callback(checkpoint_ports.store.close)
            stack.callback(checkpoint_ports.folds.close)
        trainer = new_trainer(settings)
        if trainer is not None:
            stack.callback(trainer.close)
        runner = Runner(
            settings,
            source,
            sink,
            lists,
            clock=clock,
            telemetry=telemetry,
            text_ports=text_ports,
            trainer=trainer,
            vectors=vectors,
            checkpoint_ports=checkpoint_ports,
            receipts=receipts,
        )
        server = MetricsServer(telemetry, settings.metrics_host, settings.metrics_port, runner.report)
        stack.callback(server.close)
        _log.info("metrics", extra={"url": f"http://{server.host}:{server.port}/metrics"})
        _stop_on_signals(stop, lambda: runner.is_compiling)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            runner.run(stop)  # everything that was sent has been acknowledged when it returns
        except _StoppedEarly:
            _log.info("stopped", extra={"phase": "compiling"})
            return
        if report is not None:
            write_report(report, runner.report())


def _text_ports(settings: Settings) -> TextPorts | None:
    if not settings.has_texts():
        return None
    name, n_threads, download = settings.text_model, settings.text_threads, settings.text_download
    check_text_model(name, download=download)  # now, not in the background after the first item
    cache = on_redis(RedisTextCache, settings)
    return TextPorts(lambda: TextProcess(name, n_threads, download=download), cache)


def checkpoint_store(settings: Settings) -> Checkpoints:
    """Where these settings keep checkpoints.

    Raises:
        ConfigError: nowhere.
    """
    if settings.checkpoint_url is not None:
        return FileCheckpoints(settings.checkpoint_url, settings.prefix)
    return on_redis(RedisCheckpoints, settings)


def _checkpoint_ports(settings: Settings) -> CheckpointPorts | None:
    if settings.checkpoint_interval_s == 0:
        return None
    folds = on_redis(RedisFolds, settings)
    return CheckpointPorts(checkpoint_store(settings), folds)


def new_trainer(settings: Settings) -> ThreadTrainer | None:
    """A trainer before its first round; None where there are no vectors. To be closed."""
    if "vectors" in settings.without:
        return None
    return ThreadTrainer(Learner(), share=settings.training_share, waits=settings.training_waits)


class _StoppedEarly(BaseException):
    """A signal came while there was nothing to drain."""


def _stop_on_signals(stop: threading.Event, is_compiling: Callable[[], bool]) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        _log.info(
            "draining", extra={"signal": signal.Signals(number).name, "hint": "a second one ends at once"}
        )
        stop.set()
        if is_compiling():  # that takes minutes, and looks at no event
            raise _StoppedEarly

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
