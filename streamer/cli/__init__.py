"""The command `streamer`.

`app` is what all commands have in common, `options` what several do. `commands` and its like (`check_command`,
`checkpoint_commands`, `dlq_commands`, `erase_command`, `verify_command`) declare commands and import nothing heavy: `streamer
--help` is instant. What a command does is in a file of its own, imported when it runs; `connect` makes its ports on Kafka and
Redis, and `views` is what is drawn.
"""

from streamer.cli import commands  # first, as help lists the commands in this order

# isort: split
from streamer.cli import check_command, checkpoint_commands, dlq_commands, erase_command, verify_command
from streamer.cli.app import app, main

__all__ = [
    "app",
    "check_command",
    "checkpoint_commands",
    "commands",
    "dlq_commands",
    "erase_command",
    "main",
    "verify_command",
]
