"""The commands `streamer dlq ...`. As in `commands`, everything heavy is imported inside them."""

from pathlib import Path
from typing import Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import Assignments, ConfigFile, Kafka
from streamer.errors import ConfigError, InvalidEvent

letters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Messages that could not be used, and the way back.",
)
app.add_typer(letters, name="dlq")

TopicDeadLetters = Annotated[str | None, typer.Option(metavar="TOPIC")]
Reason = Annotated[str | None, typer.Option(metavar="NAME", help="Only those with this reason")]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only those that came from this topic")]


@letters.command("list", cls=SettingsCommand)
def list_(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    kafka: Kafka = None,
    topic_dead_letters: TopicDeadLetters = None,
    reason: Reason = None,
    topic: Topic = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="How many of the newest to show")
    ] = 20,
    assignments: Assignments = None,
) -> None:
    """Count them by reason, and show the newest.

    Reads the whole topic.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    from streamer.cli.dlq import Wanted, show_all  # noqa: PLC0415

    show_all(settings, Wanted(reason, topic), limit)


@letters.command(cls=SettingsCommand)
def show(
    ctx: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="As `list` shows it")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="The message alone, byte for byte, for a file")] = False,
    config: ConfigFile = None,
    kafka: Kafka = None,
    topic_dead_letters: TopicDeadLetters = None,
    assignments: Assignments = None,
) -> None:
    """Show one: what is wrong with it, where it came from, and the message."""
    settings = load_settings(config, ctx.params, assignments).settings
    from streamer.cli.dlq import place_of, show_one  # noqa: PLC0415

    show_one(settings, place_of(letter), raw=raw)


@letters.command(cls=SettingsCommand)
def replay(
    ctx: typer.Context,
    letter: Annotated[
        list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", help="As `list` shows them")
    ] = None,
    *,
    value: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Send this in place of the one letter; - is stdin")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="ID", help="With --value: its key, where that is wrong")
    ] = None,
    reason: Reason = None,
    topic: Topic = None,
    every: Annotated[bool, typer.Option("--all", help="All of them")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those replayed before that did not come back")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Send at most N, oldest first")] = 1000,
    config: ConfigFile = None,
    kafka: Kafka = None,
    topic_dead_letters: TopicDeadLetters = None,
    assignments: Assignments = None,
) -> None:
    """Send letters back to the topics they came from.

    A message that is still bad comes back as a new letter that names this one. Each is sent three times at most, in all its
    letters. Exits with code 7 when a letter was not sent, and says why.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    if not (letter or reason or topic or every):
        raise ConfigError("replay: name letters, or give --reason, --topic or --all")
    if value is not None and len(letter or ()) != 1:
        raise ConfigError("replay: --value repairs one letter: name it")
    from streamer.cli.dlq import Wanted, place_of  # noqa: PLC0415
    from streamer.cli.dlq_replay import repair_of  # noqa: PLC0415
    from streamer.cli.dlq_replay import replay as replay_letters  # noqa: PLC0415

    wanted = Wanted(reason, topic, frozenset(map(place_of, letter or ())))
    done = replay_letters(settings, wanted, repair_of(value, key), limit, again=again)
    typer.echo(f"{done.n_sent} sent, {done.n_left} not sent, {done.n_before} sent before")
    if done.n_left:
        raise typer.Exit(InvalidEvent.exit_code)
