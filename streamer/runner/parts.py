"""What a worker is made of, for those who put it together and those who use it."""

from typing import NamedTuple

from streamer.config import Settings
from streamer.ports import Clock, Lists, Source, Vectors
from streamer.runner.checkpoint_writer import CheckpointPorts
from streamer.runner.figures import Figures
from streamer.runner.model import Model
from streamer.runner.outgoing import Outgoing
from streamer.runner.patience import Patience
from streamer.runner.publishing import Publishing
from streamer.runner.texts import Texts
from streamer.telemetry import Telemetry


class Parts(NamedTuple):
    """One worker's."""

    settings: Settings
    source: Source  # the log
    lists: Lists  # where lists are published
    vectors: Vectors | None  # where vectors are published; None: nowhere
    checkpoint_ports: CheckpointPorts | None  # None: a start reads the log from its beginning
    model: Model
    publishing: Publishing  # keeps what is published true to the model
    texts: Texts | None  # has the texts of items embedded; None: this worker embeds nothing
    outgoing: Outgoing  # takes dead letters, lists and texts to their topics
    figures: Figures
    patience: Patience  # waits for dependencies that are away
    clock: Clock
    telemetry: Telemetry
