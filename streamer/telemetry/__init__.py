"""What the worker tells about itself.

metrics    every metric declared once, with its unit and meaning
histogram  one that takes a batch at a time
health     whether the worker turns, and whether it is ready
server     the HTTP port that shows all of it
"""

from streamer.telemetry.health import DEPENDENCIES
from streamer.telemetry.histogram import BatchHistogram
from streamer.telemetry.metrics import Telemetry, describe
from streamer.telemetry.server import MetricsServer

__all__ = ["DEPENDENCIES", "BatchHistogram", "MetricsServer", "Telemetry", "describe"]
