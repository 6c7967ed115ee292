"""The command `streamer`.

`commands` and its like (`check_command`, `checkpoint_commands`, `dlq_commands`, `log_commands`) declare commands and options and
import nothing heavy: `streamer --help` is instant. What a command does is in a file of its own, imported when it runs; `views`
is everything that is drawn.
"""

from streamer.cli import check_command, checkpoint_commands, dlq_commands, log_commands
from streamer.cli.commands import app, main

__all__ = ["app", "check_command", "checkpoint_commands", "dlq_commands", "log_commands", "main"]
