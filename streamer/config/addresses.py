"""Addresses of servers: what they look like."""

import re
from urllib.parse import urlsplit

_SERVER = re.compile(r"(?:[A-Za-z]+://)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/,\[\]]+):(?P<port>\d{1,5})")
_REDIS_SCHEMES = ("redis", "rediss", "unix")


def check_servers(value: str) -> None:
    """Accept Kafka bootstrap servers.

    Raises:
        ValueError: they are none.
    """
    for server in value.split(","):
        match = _SERVER.fullmatch(server.strip())
        if match is None or not 1 <= int(match["port"]) <= 65_535:
            raise ValueError("expected HOST:PORT[,HOST:PORT...]")


def check_redis_url(value: str) -> None:
    """Accept the URL of a Redis.

    Raises:
        ValueError: it is none; the text does not repeat it.
    """
    expected = (
        "expected redis://[user:password@]host:port/db, rediss://... or unix://PATH (Sentinel is not asked)"
    )
    try:
        url = urlsplit(value)
        _ = url.port  # parses it
    except ValueError:
        raise ValueError(expected) from None  # the cause would quote the URL, and its password
    where = url.path if url.scheme == "unix" else url.hostname
    if url.scheme not in _REDIS_SCHEMES or not where or any(c.isspace() for c in value):
        raise ValueError(expected)
    if "@" in url.query + url.fragment:  # most likely the rest of a password
        raise ValueError(
            expected + "; write %40 for @, %2F for /, %3F for ? and %23 for # in user and password"
        )
    if url.scheme != "unix" and not re.fullmatch(r"(/\d*)?", url.path):
        raise ValueError(expected + "; the database is a number")
