"""The command `streamer`.

`commands` declares commands and options and imports nothing heavy: `streamer --help` is instant. What a
command does is in a file of its own, imported when it runs; `views` is everything that is drawn.
"""

from streamer.cli.commands import app, main

__all__ = ["app", "main"]
