"""What both the commands and the demo draw.

terminal    text that does nothing, ages, a console wide enough for a table
report      a report as tables
"""

from streamer.drawing.terminal import ago, plain, wide_console

__all__ = ["ago", "plain", "wide_console"]
