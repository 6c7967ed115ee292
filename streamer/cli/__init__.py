"""The command `streamer`.

`app` is what all commands have in common, `options` what several do. `commands` and its like (`check_command`,
`checkpoint_commands`, `dlq_commands`, `erase_command`, `verify_command`) declare commands and import nothing heavy: `streamer
--help` is instant. What a command does is in a file of its own, imported when it runs:

    worker       `run`: the ports of a worker, and its end
    check        `check`; `cautions` are its sentences about what will hurt later
    checkpoint   `checkpoint list`, `show`, `verify` and `rollback`
    dlq          `dlq list` and `show`; `dlq_replay` sends letters back, `dlq_since` knows what came after them
    produce      `produce`
    meant        what the contract allows and nobody means: neither `produce` nor `dlq replay` sends it
    erase        `erase`
    verify       `verify`
    connect      ports on Kafka and Redis, as the settings have them
    log_reading  a topic from its beginning to where it ends now
    views        what is drawn
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
