"""What every store on Redis, Valkey or a cluster of either shares: the connection, by redis-py."""

import itertools
import secrets
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.retry import Retry

from streamer.errors import ConfigError, Unavailable

CHUNK = 1000  # commands a round trip: bounds what client and server hold of one write
_MAX_REASON = 200  # characters: a server's error may repeat the command it refuses

_REFUSED = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)
_WRONG_NODE = (ReadOnlyError, BusyLoadingError, MasterDownError, RedisClusterException)
_SCHEMES = ("redis", "rediss", "unix")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def mask(url: str) -> str:
    """The URL with its password, and any parameters, left out: for messages."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username
    except ValueError:
        return "(a URL that cannot be read)"
    secret = "***@" if parts.password is not None else ""
    who = f"{user or ''}{':' if secret else '@'}{secret}" if user or secret else ""
    return urlunsplit((parts.scheme, who + host, parts.path, "", ""))


class RedisConnection:
    """What every store on Redis shares: commands in chunks, and errors told apart by whether waiting heals them.

    It connects on first use, not when made. No command names two keys, so a cluster needs nothing special.
    What the store refuses for now (away, loading, read-only, out of memory, failing over) is `Unavailable`:
    some entries of that call may have been written, and writing all of them again puts things right. What no
    waiting heals is `ConfigError`: a bad URL, wrong or missing credentials and rights, a cluster taken for a
    single server or the reverse. Credentials refused *after* the store once took them, and rights refused to
    a command that once passed, are `Unavailable`: then it is the server that changed.

    Args:
        url: redis://, rediss:// (TLS) or unix://, with user, password and database as redis-py reads them.
        prefix: What every key begins with.
        cluster: The URL names a node of a Redis Cluster.
        options: More options of redis-py (TLS, user and password, timeouts), which win over `timeout_s`; what the URL
            says wins over them.
        timeout_s: Longest wait for a connection and for an answer.

    Raises:
        ConfigError: the URL is none, or contradicts `cluster`; redis-py knows no such option; a file that an option names
            cannot be read.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "streamer:",
        *,
        cluster: bool = False,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._where = f"Redis at {mask(url)}"
        self._prefix = prefix
        self._url = url
        self._cluster = cluster
        self._options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            # One more try at once replaces a connection that broke while idle. Waiting is the runner's
            # business.
            "retry": Retry(NoBackoff(), 1),
            "health_check_interval": 0,
            **(options or {}),
        }
        self.token = secrets.token_hex(8).encode()  # tells what we wrote from what others did
        self._client: Any = None
        self._nodes: list[tuple[str, int]] = []  # of the cluster, as they were known last
        self._answered = False
        self._passed: set[str] = set()  # names of commands that we were once allowed
        self._closed = False
        self._check_tls_files()
        self._check_url()

    def ping(self) -> None:
        """Return when the store answers; on a cluster, when every node does."""
        try:
            self._connect().ping()
        except (RedisError, RedisClusterException) as exc:
            self._fail(exc)
        self._answered = True

    def close(self) -> None:
        """Leave the store. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _run(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """The replies to the commands, sent in chunks; each command names one key."""
        replies: list[Any] = []
        remaining = iter(commands)
        names = set[str]()
        try:
            client = self._connect()
            while chunk := list(itertools.islice(remaining, CHUNK)):
                names = {command[0] for command in chunk}
                pipeline = client.pipeline(transaction=False)
                for command in chunk:
                    pipeline.execute_command(*command)
                replies += pipeline.execute()
                self._passed |= names
        except (RedisError, RedisClusterException) as exc:
            self._fail(exc, is_new=not names <= self._passed)
        self._answered = True
        return replies

    def _keys(self, prefix: str) -> Iterator[bytes]:
        """Every key that begins so, once; it takes as long as the store is large, and holds up nobody."""
        pattern = "".join(f"\\{mark}" if mark in "\\*?[]^" else mark for mark in prefix) + "*"
        seen: set[bytes] = set()  # a scan may give a key twice
        try:
            for key in self._connect().scan_iter(match=pattern, count=CHUNK):
                if key not in seen:
                    seen.add(key)
                    yield key
        except (RedisError, RedisClusterException) as exc:
            self._fail(exc)
        self._answered = True

    def _connect(self) -> Any:
        if self._closed:
            raise Unavailable(f"{self._where}: closed")
        if self._client is None:
            # A cluster's client asks for the slots right away: that is why not in __init__.
            self._client = (
                self._connect_cluster() if self._cluster else redis.Redis.from_url(self._url, **self._options)
            )
        return self._client

    def _connect_cluster(self) -> Any:
        try:
            return RedisCluster.from_url(self._url, **self._options)
        except (RedisError, RedisClusterException):
            if not self._nodes:
                raise
            # the node that the URL names may be the one that is down
            nodes = [ClusterNode(*address) for address in self._nodes]  # type: ignore[no-untyped-call]
            return RedisCluster.from_url(self._url, startup_nodes=nodes, **self._options)

    def _part(self) -> None:
        """Connect anew next time: behind the address there may be another node by now, and this one never lets us go."""
        if self._client is not None and self._cluster:
            self._nodes = [(node.host, node.port) for node in self._client.get_nodes()]
            client, self._client = self._client, None
            client.close()
        elif self._client is not None:
            self._client.connection_pool.disconnect(inuse_connections=False)

    def _check_tls_files(self) -> None:
        for name in _TLS_FILES:
            path = self._options.get(name)
            try:
                if path is not None:
                    Path(path).open("rb").close()
            except OSError as exc:  # later it would look as if the server were away
                raise ConfigError(
                    f"redis_config.{name}: the file {path} cannot be read: {exc.strerror}"
                ) from exc

    def _check_url(self) -> None:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        try:
            parts = urlsplit(self._url)
            if parts.scheme not in _SCHEMES:
                scheme = f"{parts.scheme}://" if parts.scheme else "no scheme"
                raise ConfigError(f"Redis URL: expected {schemes}, got {scheme}")
            # redis-py parses the rest, without connecting.
            redis.ConnectionPool.from_url(self._url, **self._options).make_connection()
        except (ValueError, TypeError) as exc:
            # without its cause, which shows the password
            raise ConfigError(f"Redis URL {mask(self._url)} cannot be read: {_reason(exc)}") from None
        database = parts.path.strip("/") if parts.scheme != "unix" else ""
        if database and not database.isdecimal():  # redis-py would take 0 instead
            raise ConfigError(f"{self._where}: expected the number of a database, got {database!r}")
        if self._cluster and (parts.scheme == "unix" or database not in ("", "0")):
            raise ConfigError(f"{self._where}: a cluster has neither unix sockets nor databases other than 0")

    def _fail(self, exc: Exception, *, is_new: bool = False) -> NoReturn:
        """Raise the error that fits; `is_new`: it may be of a command that never passed before."""
        causes = [exc, *_causes(exc)]
        if any(isinstance(cause, _WRONG_NODE) for cause in causes):
            self._part()
        text = f"{self._where}: {_reason(exc)}"
        is_refused = any(isinstance(cause, _REFUSED) or _no_auth(cause) for cause in causes)
        if is_refused and (not self._answered or (is_new and any(map(_no_right, causes)))):
            raise ConfigError(f"{text}; check user, password and rights") from exc
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) and not self._answered:
            raise ConfigError(
                f"{text}; check ssl_ca_certs of the setting redis_config, and the name in redis"
            ) from exc
        if isinstance(exc, AskError) and not self._cluster:
            raise ConfigError(f"{self._where} is a node of a cluster; turn the cluster setting on") from exc
        if any(
            "cluster support disabled" in str(c) or "Cluster mode is not enabled" in str(c) for c in causes
        ):
            raise ConfigError(f"{self._where} is not a cluster; turn the cluster setting off") from exc
        raise Unavailable(text) from exc


def _reason(exc: BaseException) -> str:
    # redis-py puts the command first, with its key: a user's id.
    return str(exc).rpartition("of pipeline caused error: ")[2][:_MAX_REASON] or type(exc).__name__


def _no_auth(exc: BaseException) -> bool:
    # NOAUTH comes as an AuthenticationError or, within a pipeline, as a plain ResponseError, by version of
    # redis-py.
    return str(exc).startswith(("NOAUTH", "WRONGPASS", "NOPERM", "Authentication required"))


def _no_right(exc: BaseException) -> bool:
    return isinstance(exc, NoPermissionError) or _reason(exc).startswith(("NOPERM", "User "))


def _causes(exc: BaseException) -> Iterable[BaseException]:
    while (cause := exc.__cause__ or exc.__context__) is not None:
        yield cause
        exc = cause
