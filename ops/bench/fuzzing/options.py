"""Settings from the environment, a file and flags: taken, or refused with a `ConfigError`."""

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from fuzzing import Verdict
from fuzzing.mutation import RAW, VALUES, Mutator
from streamer.config import ENV_PREFIX, Settings, load, parse_assignments
from streamer.errors import ConfigError

NAMES = tuple(Settings.model_fields)
TEXTS = (
    *(
        "localhost:9092",
        "a:1,b:2",
        "[::1]:9092",
        ":9092",
        "a:99999",
        "SASL_SSL://a:9092",
        "redis://a:6379/0",
        "redis://u:p@[::1:6379",
    ),
    *(
        "rediss://a:x/1",
        "unix:///tmp/s",
        "unix://",
        "redis://a:6379/x",
        "redis://[/",
        "http://a",
        "s3://bucket/x?y=z",
        "file://",
        "memory://",
    ),
    *(
        "true",
        "false",
        "ture",
        "1",
        "0",
        "-1",
        "20",
        "201",
        "1e3",
        "1e400",
        "nan",
        "inf",
        "0.5",
        "1_000",
        "٣",
        " 5 ",
        "0x10",
        "9" * 5_000,
    ),
    *(
        '{"sasl.password": "x"}',
        '{"group.id": "x"}',
        "{",
        "[]",
        "{}",
        '{"a": {"b": 1}}',
        '{"a": null}',
        "a,b",
        ",",
        "ranker,ranker",
    ),
)
TOML = (
    b'kafka = "localhost:9092"\nk = 10\nrepeats = true\nbackoff_max_s = 0.5\nwithout = ["ranker", "words"]\n',
    b'redis = "redis://localhost:6379/0"\nlog_level = "debug"\n[kafka_config]\n"security.protocol" = "ssl"\nretries = 3\n',
    b'topic_catalog = """a"""\ncheckpoint_url = "s3://x/y"\nmax_users = 1_000\nmeasure_share = 5e-1\n',
    b"k = 1979-05-27T07:32:00Z\nprefix = 'x'\nlist_ttl_s = 0x10\nexplore_share = inf\n",
)


class Giver:
    """Settings as somebody may give them.

    Args:
        rng: Of everything.
        directory: Where the file is written.
    """

    def __init__(self, rng: random.Random, directory: Path) -> None:
        self._rng = rng
        self._file = directory / "settings.toml"
        self._mutator = Mutator(rng, list(TOML), list(NAMES))

    def given(self) -> tuple[str, dict[str, str], list[str], Path | None]:
        """How; the environment; assignments of flags; the file."""
        how = self._rng.choice(("environment", "flags", "file", "all"))
        environment = self._environment() if how in {"environment", "all"} else {}
        flags = (
            [self._assignment() for _ in range(self._rng.randint(1, 4))] if how in {"flags", "all"} else []
        )
        return how, environment, flags, self._toml() if how in {"file", "all"} else None

    def _environment(self) -> dict[str, str]:
        pairs = ((ENV_PREFIX + self._name().upper(), self._text()) for _ in range(self._rng.randint(1, 4)))
        # no process can be given others
        return {
            name: text.replace("\0", "")
            for name, text in pairs
            if "=" not in name and "\0" not in name and name.isprintable()
        }

    def _assignment(self) -> str:
        name, text = self._name(), self._text()
        return self._rng.choice(
            (f"{name}={text}", f"{name}={text}", f"kafka_config.{name}={text}", name, f"={text}", text)
        )

    def _toml(self) -> Path:
        value = self._mutator.seed()
        if self._rng.random() < 0.8:
            value = self._mutator.bytes_broken(value)
        if self._rng.random() < 0.5:
            value = (
                b"%s = %s\n"
                % (self._name().encode("utf-8", "replace"), repr(self._text()).encode("utf-8", "replace"))
                + value
            )
        self._file.write_bytes(value)
        return self._file

    def _name(self) -> str:
        name = self._rng.choice(NAMES)
        return (
            name
            if self._rng.random() < 0.9
            else self._rng.choice((name[1:], name + "x", name.upper(), "é", "", "\ud800"))
        )

    def _text(self) -> str:
        value: Any = self._rng.choice((*TEXTS, *VALUES))
        text = value.removeprefix(RAW) if isinstance(value, str) else str(value)
        # what cannot be a byte string cannot be in an environment or on a command line
        return text.encode("utf-8", "replace").decode()


def fuzz(n: int, seed: int) -> Verdict:
    """So many times."""
    verdict, rng = Verdict("settings"), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="streamer-fuzz-") as directory:
        giver = Giver(rng, Path(directory))
        for _ in range(n):
            how, environment, flags, file = giver.given()
            verdict.n_tried += 1
            given = (environment, flags, file.read_bytes() if file is not None else None)
            try:
                verdict.outcomes[f"{how}: {_load(environment, flags, file)}"] += 1
            except Exception as exc:  # noqa: BLE001  whatever it is, it is what we look for
                verdict.crash(exc, given)
            if verdict.is_over:
                break
    return verdict


def _load(environment: dict[str, str], flags: list[str], file: Path | None) -> str:
    with mock.patch.dict(os.environ, environment, clear=True):
        try:
            settings = load(parse_assignments(flags), file).settings
        except ConfigError as exc:
            str(exc).encode()  # it is printed
            return "refused"
    for read in (settings.public, settings.kinds, settings.__repr__, settings.fold):
        _print(read)
    return "taken"


def _print(read: Callable[[], object]) -> None:
    str(read()).encode()


def target(data: bytes) -> None:
    """For a guided fuzzer: a settings file."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        _load({}, [], Path(file.name))
