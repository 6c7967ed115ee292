"""Checkpoints in a directory or object store, by fsspec: file://, s3://, gs://, memory:// and all others it knows."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

from streamer.errors import CheckpointRefused, ConfigError, Unavailable

_PIECE = 4 << 20
_SUFFIX = ".checkpoint"

T = TypeVar("T")


class FileCheckpoints:
    """`ports.Checkpoints` at a URL: a file each, `<name>.checkpoint`, and `pointer.json`, under `prefix=<prefix>`.

    In a local directory the pointer is replaced by a rename, in an object store by one put: both happen at once.

    Args:
        url: A path or any URL that fsspec knows. Credentials come from where its backend looks for them.
        prefix: Whose they are. Two workers may be given one URL: what the one's pointer does not name the other must not remove.

    Raises:
        ConfigError: fsspec does not know such a URL, or lacks the package for it.
    """

    def __init__(self, url: str, prefix: str) -> None:
        from fsspec.core import url_to_fs  # noqa: PLC0415  only whoever keeps checkpoints in files pays for the import
        from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

        try:
            self._fs, path = url_to_fs(url)
        except ImportError as exc:
            raise ConfigError(f"checkpoint_url: {exc}") from None
        except ValueError as exc:
            # what cannot be parsed is quoted, and may be a part of a password
            known = (
                str(exc)
                if str(exc).startswith("Protocol not known")
                else "it is no directory and no URL of its kind"
            )
            raise ConfigError(f"checkpoint_url: {known}; write %2F for a / in user or password") from None
        except OSError as exc:  # some backends connect at once
            raise Unavailable(f"checkpoint_url: its server does not answer ({type(exc).__name__})") from None
        self._root = f"{path.rstrip('/')}/prefix={quote(prefix, safe=':')}"
        self._is_local = isinstance(self._fs, LocalFileSystem)
        protocol = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
        # Some backends leave user and password in the path.
        self._credentials: str
        self._credentials, _, shown = ("", "", self._root) if self._is_local else self._root.rpartition("@")
        self.where = f"{protocol}:{shown}"

    def check_size(self, n_bytes: int) -> None:
        """None is too large."""

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a checkpoint; returns when it is there, on a local disk through to the disk."""
        self._do(lambda: self._write(self._path(name), pieces))

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a checkpoint, in pieces."""

        def opened() -> Any:
            try:
                return self._fs.open(self._path(name), "rb")
            except FileNotFoundError:
                raise CheckpointRefused("it is gone") from None

        with self._do(opened) as file:
            while piece := self._do(lambda: file.read(_PIECE)):
                yield piece

    def delete(self, name: str) -> None:
        """Remove a checkpoint, or what there is of it."""
        self._do(lambda: self._fs.rm_file(self._path(name)) if self._fs.exists(self._path(name)) else None)

    def names(self) -> set[str]:
        """All that there are, whole or not."""

        def found() -> list[str]:
            self._fs.invalidate_cache()
            return list(self._fs.ls(self._root, detail=False)) if self._fs.exists(self._root) else []

        files = (path.rsplit("/", 1)[-1] for path in self._do(found))
        return {file.removesuffix(_SUFFIX) for file in files if file.endswith(_SUFFIX)}

    def write_pointer(self, pointer: bytes) -> None:
        """Overwrite the pointer."""

        def write() -> None:
            path = f"{self._root}/pointer.json"
            if not self._is_local:
                self._fs.pipe_file(path, pointer)
                return
            self._write(f"{path}.new", [pointer])
            os.replace(f"{path}.new", path)
            _sync_directory(self._root)

        self._do(write)

    def read_pointer(self) -> bytes | None:
        """The pointer, None where none was written."""

        def read() -> bytes | None:
            try:
                pointer: bytes = self._fs.cat_file(f"{self._root}/pointer.json")
            except FileNotFoundError:
                return None
            return pointer

        return self._do(read)

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}{_SUFFIX}"

    def _write(self, path: str, pieces: Iterable[bytes | memoryview]) -> None:
        self._fs.makedirs(self._root, exist_ok=True)
        with self._fs.open(path, "wb") as file:
            for piece in pieces:
                file.write(piece)
            if self._is_local:
                file.flush()
                os.fsync(file.fileno())

    def _do(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as exc:
            self._tell(str(exc), exc)
        except Exception as exc:
            if isinstance(exc, ConfigError | CheckpointRefused | Unavailable):
                raise
            # Backends have errors of their own for a store that is away.
            self._tell(f"{type(exc).__name__}: {exc}", exc)

    def _tell(self, reason: str, cause: BaseException) -> NoReturn:
        """The store is away. A cause that names the path would show the credentials in it."""
        if not self._credentials:
            raise Unavailable(f"checkpoints at {self.where}: {reason}") from cause
        raise Unavailable(
            f"checkpoints at {self.where}: {reason.replace(self._credentials, '***')}"
        ) from None


def _sync_directory(path: str) -> None:
    """Have its names on the disk, too, before older checkpoints are removed: after a power cut the old pointer would be back."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(directory)
