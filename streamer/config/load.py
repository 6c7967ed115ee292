"""Where settings come from: flags > `STREAMER_*` environment > TOML file > defaults; and secrets, from files of their own.

Settings are parsed once, before anything connects, and unknown names are refused wherever they come from: a
typo that is silently ignored is a setting that silently does nothing.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from streamer.config.secret import from_files, read_file
from streamer.config.settings import ENV_PREFIX, Settings
from streamer.errors import ConfigError

CONFIG_FILE_ENV = "STREAMER_CONFIG"
_TEST_ENV_PREFIX = "STREAMER_TEST_"  # switches of the test suite, not settings
# What Kubernetes sets in every pod where a Service is called "streamer", or "streamer-redis": nobody wrote these, so none is
# misspelt. A port alone is known by its value: STREAMER_METRICS_PORT is a setting, too, and STREAMER_METRIC_PORT is not.
_SERVICE_LINK = re.compile(
    r"STREAMER_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"STREAMER_([A-Z0-9_]+_)?PORT=(tcp|udp|sctp)://.*")
_FILE_SUFFIX = "_FILE"
_MAPPINGS = ("kafka_config", "redis_config")
_NEVER_SHOWN = ("kafka", "redis", "checkpoint_url", *_MAPPINGS)  # a refused value may hold a password
_MAX_SHOWN = 80  # characters of a refused value that an error message repeats


class Loaded(NamedTuple):
    """Settings, and where each of them came from: "default", "file PATH", "environment NAME" or "flag"."""

    settings: Settings
    origins: dict[str, str]


def load(flags: Mapping[str, Any] | None = None, config_file: Path | None = None) -> Loaded:
    """Merge flags, environment and file over the defaults. `kafka_config` and `redis_config` are merged entry by entry.

    Any value in the environment or file may lie in a file of its own: `{ file = "PATH" }` in TOML and JSON,
    `STREAMER_<NAME>_FILE` as variable.

    Args:
        flags: Setting -> value as the command line gave it; None means "not given".
        config_file: TOML file; None takes the one that STREAMER_CONFIG names, if any.

    Raises:
        ConfigError: an unknown name, a value that cannot be used, or a file that cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    _refuse_unknown(given, "flag")
    layers = [("flag", given), *_environment(), *_file(config_file)]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for origin, layer in reversed(layers):
        for name, value in layer.items():
            over = values.get(name)
            merge = isinstance(over, Mapping) and isinstance(value, Mapping)
            values[name] = {**over, **value} if merge else value  # type: ignore[dict-item]
            origins[name] = origin
    try:
        return Loaded(Settings(**values), origins)
    except ValidationError as exc:
        # the cause holds the values, and secrets
        raise ConfigError(_sentences(exc, values, origins)) from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set name=value` flags into settings; `kafka_config.NAME=value` sets one entry, as of `redis_config`.

    Raises:
        ConfigError: no `=`, or an unknown name.
    """
    flags: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            # what follows may be a secret
            shown = re.split(r"[\s:]", assignment[:_MAX_SHOWN], maxsplit=1)[0]
            raise ConfigError(f"--set: expected name=value, got {shown!r}, and no = behind it")
        name = name.strip()
        mapping, dot, entry = name.partition(".")
        if dot and mapping.replace("-", "_") in _MAPPINGS:
            entries = flags.setdefault(mapping.replace("-", "_"), {})
            if not isinstance(entries, dict):
                raise ConfigError(f"--set: expected {mapping}.NAME=value alone, got {mapping}=... before it")
            entries[entry] = value
        else:
            flags[name.replace("-", "_")] = value
    _refuse_unknown(flags, "--set")
    return flags


def _environment() -> list[tuple[str, dict[str, Any]]]:
    """One layer a variable, so that each keeps its name as origin."""
    known = {ENV_PREFIX + name.upper(): name for name in Settings.model_fields}
    values: dict[str, tuple[str, str]] = {}  # setting -> variable, text
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(ENV_PREFIX) or name == CONFIG_FILE_ENV or name.startswith(_TEST_ENV_PREFIX):
            continue
        text = os.environ[variable]
        if _SERVICE_LINK.fullmatch(variable) or _SERVICE_PORT.fullmatch(f"{variable}={text}"):
            continue
        setting = known.get(name) or known.get(name.removesuffix(_FILE_SUFFIX))
        if setting is None:
            raise ConfigError(f"environment variable {variable} is no setting{_nearest(name, known)}")
        if not text:
            continue
        if setting in values:
            raise ConfigError(f"environment variables {values[setting][0]} and {variable}: give one of them")
        values[setting] = variable, text if name in known else read_file(text, variable)
    return [
        (f"environment {variable}", {name: _read(name, variable, text)})
        for name, (variable, text) in values.items()
    ]


def _read(name: str, variable: str, text: str) -> Any:
    """The value of a setting, from the text of a variable or file."""
    if name not in _MAPPINGS:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        # The text of a JSON error would quote it.
        raise ConfigError(f'{variable}: expected a JSON object, as {{"name": "value"}}') from None
    return from_files(value, variable)


def _file(config_file: Path | None) -> list[tuple[str, dict[str, Any]]]:
    if config_file is None:
        named = os.environ.get(CONFIG_FILE_ENV)
        if not named:
            return []
        config_file = Path(named)
    try:
        values = tomllib.loads(config_file.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"settings file {config_file}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"settings file {config_file}: expected TOML: {exc}") from exc
    origin = f"file {config_file}"
    _refuse_unknown(values, origin)
    return [(origin, {name: _from_file(value, name) for name, value in values.items()})]


def _from_file(value: Any, name: str) -> Any:
    """A value of the TOML file, or of the file that it names; the two mappings are JSON there."""
    if name in _MAPPINGS and isinstance(value, dict) and set(value) == {"file"}:
        return _read(name, name, read_file(value["file"], name))
    return from_files(value, name)


def _refuse_unknown(values: Mapping[str, Any], origin: str) -> None:
    for name in values:
        if name not in Settings.model_fields:
            raise ConfigError(
                f"{origin}: {name[:_MAX_SHOWN]!r} is no setting{_nearest(name, Settings.model_fields)}"
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; `streamer check` prints all settings"


def _sentences(exc: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    lines = []
    for error in exc.errors(include_input=False, include_url=False):
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        path = ".".join(str(part) for part in error["loc"])
        if not path:
            lines.append(message)
            continue
        name = str(error["loc"][0])
        got = "" if name in _NEVER_SHOWN else f", got {values.get(name)!r:.{_MAX_SHOWN}}"
        lines.append(f"{path}: {message}{got} (from {origins.get(name, 'default')})")
    return "\n".join(lines)
