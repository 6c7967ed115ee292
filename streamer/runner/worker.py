"""One worker, put together: it opens where the newest checkpoint has it, goes round the loop, and closes what it opened."""

import logging
import threading
from contextlib import ExitStack
from typing import Any

from streamer.config import Settings
from streamer.errors import Unavailable
from streamer.ports import Clock, Lists, Receipts, Sink, Source, Vectors
from streamer.runner.checkpoint_writer import CheckpointPorts
from streamer.runner.figures import Figures
from streamer.runner.loop import Loop
from streamer.runner.model import Model
from streamer.runner.opening import open_fold
from streamer.runner.outgoing import Outgoing
from streamer.runner.parts import Parts
from streamer.runner.patience import Patience
from streamer.runner.phases import Phase
from streamer.runner.publishing import Publishing
from streamer.runner.texts import TextPorts, Texts
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

_log = logging.getLogger("streamer.runner")

REPORT_TIMEOUT_S = 5.0


class Runner:
    """One worker.

    Args:
        settings: See `config`.
        source: The log, from its beginning.
        sink: For dead letters, and the lists where they are sent to a topic, too.
        lists: Where lists are published.
        clock: Time.
        telemetry: Metrics and health.
        text_ports: Embed the texts of items, where the settings want that. None: this worker embeds nothing, and folds
            what others have put on the log.
        trainer: Of the attention network; closed by whoever made it. None: there are no vectors.
        vectors: Where vectors, and the readable state of the encoders, are published. None: nowhere.
        checkpoint_ports: Where checkpoints and the log of folds are kept. None: a start reads the log from its beginning.
        receipts: Where it is written what was removed of erased users. None: nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        sink: Sink,
        lists: Lists,
        *,
        clock: Clock,
        telemetry: Telemetry,
        text_ports: TextPorts | None = None,
        trainer: ThreadTrainer | None = None,
        vectors: Vectors | None = None,
        checkpoint_ports: CheckpointPorts | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._lists = lists
        self._clock = clock
        self._telemetry = telemetry
        self._text_ports = text_ports if settings.has_texts() else None
        self._vectors = vectors
        self._checkpoint_ports = checkpoint_ports
        self._receipts = receipts
        telemetry.begin(settings.kinds())
        self._model = Model(settings, trainer)
        self.is_compiling = False  # at the start, for minutes the first time: nothing is owed to anybody then
        self._lock = threading.Lock()  # `report` comes from another thread
        self._began_s = clock.monotonic_s()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish the batch, write, commit and return.

        Raises:
            Unavailable: a dependency was away at the start, or while stopping, for too long.
            TooManyInvalid: more messages in a row were invalid than the settings allow.
            LogGap: interactions are missing from the log, and the settings say to stop.
            ConfigError: a dependency refuses us in a way that no waiting heals.
        """
        parts = self._parts(stop)
        with ExitStack() as stack:
            if parts.texts is not None:
                stack.callback(parts.texts.close)
            try:
                opened = open_fold(parts, self._compile, stop.is_set)
            except Unavailable:
                if not stop.is_set():
                    raise
                _log.info("stopped", extra={"phase": Phase.LOADING_ITEMS.name.lower()})
                return
            if opened.checkpointer is not None:
                stack.callback(opened.checkpointer.close)
            loop = Loop(parts, opened, stop, self._lock)
            stack.callback(loop.close)
            loop.run()

    def report(self) -> dict[str, Any]:
        """What was measured so far; may be called from any thread. The work stands still while it is made.

        Raises:
            Unavailable: a batch is at work all the time: Redis or Kafka is away, or it catches up.
        """
        if not self._lock.acquire(timeout=REPORT_TIMEOUT_S):
            raise Unavailable(
                f"no batch ended within {REPORT_TIMEOUT_S} s: see /ready for what is away; ask again"
            )
        try:
            took_s = round(self._clock.monotonic_s() - self._began_s, 3)
            return {**self._model.report(), "timing": {"worker_s": took_s}}
        finally:
            self._lock.release()

    def _parts(self, stop: threading.Event) -> Parts:
        settings, clock, telemetry = self._settings, self._clock, self._telemetry
        patience = Patience(stop, settings.backoff_max_s, settings.drain_timeout_s, clock, telemetry)
        outgoing = Outgoing(self._sink, patience)
        texts = None
        if self._text_ports is not None:
            texts = Texts(settings, self._text_ports, outgoing, telemetry)
        figures = Figures(clock, telemetry)
        publishing = Publishing(
            settings,
            self._model,
            self._lists,
            self._vectors,
            self._receipts,
            outgoing=outgoing,
            patience=patience,
            figures=figures,
            clock=clock,
            telemetry=telemetry,
        )
        return Parts(
            settings=settings,
            source=self._source,
            lists=self._lists,
            vectors=self._vectors,
            checkpoint_ports=self._checkpoint_ports,
            model=self._model,
            publishing=publishing,
            texts=texts,
            outgoing=outgoing,
            figures=figures,
            patience=patience,
            clock=clock,
            telemetry=telemetry,
        )

    def _compile(self) -> None:
        self.is_compiling = True
        self._model.warm_up()
        self.is_compiling = False
