"""Secrets: read from files, and never shown."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from streamer.errors import ConfigError

_MASK = "***"
_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|credential|key|token|signature|^sig$|jaas|oauthbearer\.config", re.IGNORECASE
)
_MAX_FILE_BYTES = 1 << 20


def from_files(value: Any, where: str) -> Any:
    """The value, with what a file holds in place of every `{ file = "PATH" }` in it.

    Args:
        where: For messages: the setting, and the entry.

    Raises:
        ConfigError: a file cannot be read.
    """
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"file"}:
        return read_file(value["file"], where)
    return {name: from_files(entry, f"{where}.{name}") for name, entry in value.items()}


def read_file(path: object, where: str) -> str:
    """What a file holds, less the end of its last line.

    Raises:
        ConfigError: it cannot be read, or is too large for a setting.
    """
    try:
        with Path(str(path)).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{where}: expected at most {_MAX_FILE_BYTES} bytes in the file {_shown(path)}")
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text, or its name is no path"
        raise ConfigError(
            f"{where}: the file {_shown(path)} cannot be read: {reason}"
        ) from None  # it may quote it


def _shown(path: object) -> str:
    """A path for people; what seems to be the secret itself, put where its file belongs, is not repeated."""
    text = str(path)
    return (
        "of this setting (expected its path, not the secret itself)" if "://" in text or "@" in text else text
    )


def mask_url(url: str) -> str:
    """The URL with its password, and any secret in its query, replaced by `***`. A plain path stays as it is.

    Where a password holds a `/` or `?` that should have been escaped, too much is masked, never too little.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    rest, has_query, query = _parted(rest)
    user_info, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = user_info.partition(":")
        place = f"{user}:{_MASK}@{place}" if colon and "/" not in user else f"{_MASK}@{place}"
    if has_query:
        pairs = parse_qsl(query, keep_blank_values=True)
        place += "?" + urlencode([(name, _masked(name, value)) for name, value in pairs], safe="*")
    return f"{scheme}://{place}"


def mask_entries(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries, those with the name of a secret as `***`."""
    return {name: _masked(name, value) for name, value in entries.items()}


def _parted(rest: str) -> tuple[str, str, str]:
    """What stands before the query, and the query; an `@` behind a `?` makes all before it user and password."""
    head, mark, query = rest.partition("?")
    if "@" in query and "@" not in head:
        return rest, "", ""
    return head, mark, query


def _masked(name: str, value: Any) -> Any:
    return _MASK if _SECRET_NAME.search(name) else value
