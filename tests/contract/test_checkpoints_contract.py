"""`ports.Checkpoints`: one suite for the twin in memory, Redis, a cluster, a directory, a bucket (fsspec's in memory)."""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from streamer.adapters.file_checkpoints import FileCheckpoints
from streamer.adapters.memory import SystemClock
from streamer.adapters.memory.checkpoints import MemoryCheckpoints
from streamer.adapters.redis import checkpoints as redis_checkpoints
from streamer.adapters.redis.checkpoints import RedisCheckpoints
from streamer.adapters.redis.folds import RedisFolds
from streamer.adapters.redis.lists import RedisLists
from streamer.checkpoint import Meta
from streamer.errors import CheckpointRefused, ConfigError, Unavailable
from streamer.ports import Checkpoints
from streamer.runner.checkpoint_writer import CheckpointPorts, CheckpointWriter
from streamer.servers import EmbeddedRedis
from streamer.telemetry import Telemetry

LARGE = bytes(range(256)) * 10_000


@pytest.fixture(params=["memory", "redis", "cluster", "directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoints]:
    """The store under test."""
    if request.param == "memory":
        yield MemoryCheckpoints()
    elif request.param == "directory":
        yield FileCheckpoints(str(tmp_path / "new" / "checkpoints"), "test:")
    elif request.param == "bucket":
        yield FileCheckpoints(f"memory://{uuid.uuid4().hex}/checkpoints", "test:")
    else:
        cluster = request.param == "cluster"
        url = request.getfixturevalue("redis_cluster_url" if cluster else "redis_url")
        store = RedisCheckpoints(url, f"test:{uuid.uuid4().hex}:", cluster=cluster)
        yield store
        for name in store.names():
            store.delete(name)
        store.close()


def test_a_checkpoint_is_read_as_it_was_written(store: Checkpoints) -> None:
    """Whatever the pieces; a name written again holds what was written last."""
    assert store.names() == set()
    store.check_size(10 * len(LARGE))
    store.write("one", [b"", b"ab", memoryview(LARGE), b"c"])
    store.write("two", [b"2"])
    assert b"".join(store.read("one")) == b"ab" + LARGE + b"c"
    assert b"".join(store.read("two")) == b"2"
    assert store.names() == {"one", "two"}
    store.write("one", [b"again"])
    assert b"".join(store.read("one")) == b"again"


def test_what_is_deleted_is_gone(store: Checkpoints) -> None:
    """All of it; deleting it again, or what never was, does nothing."""
    store.write("one", [LARGE] * 5)
    for _ in range(2):
        store.delete("one")
    assert store.names() == set()
    with pytest.raises(CheckpointRefused, match="gone"):
        b"".join(store.read("one"))


def test_what_a_write_that_failed_left_can_be_removed(store: Checkpoints) -> None:
    """Whatever it is: it has a name, and all of it goes. What was there before stays."""
    store.write("one", [b"1"])

    def pieces() -> Iterator[bytes]:
        yield from [LARGE] * 2
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        store.write("two", pieces())
    assert store.names() <= {"one", "two"}
    store.delete("two")
    assert store.names() == {"one"}
    assert b"".join(store.read("one")) == b"1"


def test_a_full_redis_has_room_for_lists_after_a_checkpoint_that_had_none() -> None:
    """The checkpoint is refused in its middle, again and again: nothing of it stays, so that lists are written as before."""
    import redis

    clock = SystemClock()
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as admin:
        used = admin.info("memory")["used_memory"]
        admin.config_set("maxmemory", used + (16 << 20))
        store, folds = RedisCheckpoints(server.url, "p:"), RedisFolds(server.url, "p:")
        writer = CheckpointWriter(CheckpointPorts(store, folds), 2, lambda: 0, clock, Telemetry(clock))
        for n in range(2):
            writer.write(
                lambda: {"a": np.ones(24 << 20, np.uint8)}, Meta({}, [], n, 0, clock.now_ms(), ""), 0
            )
            writer.wait(60)
            assert writer.take_failure()
        assert store.names() == set()
        assert not admin.keys("p:*")
        lists = RedisLists(server.url, "p:")
        lists.write([(f"u{n}", bytes(1 << 20)) for n in range(8)], ttl_s=60)
        for connection in (store, folds, lists):
            connection.close()
        writer.close()


def test_the_pointer_is_what_was_written_last(store: Checkpoints) -> None:
    """None before the first."""
    assert store.read_pointer() is None
    for pointer in (b"{}", b"x" * 5000, b"[]"):
        store.write_pointer(pointer)
        assert store.read_pointer() == pointer
    assert store.names() == set()


def test_a_checkpoint_that_lacks_a_part_is_refused(redis_url: str, prefix: str) -> None:
    """A chunk that Redis evicted, or lost, is noticed."""
    import redis

    store = RedisCheckpoints(redis_url, prefix)
    store.write("one", [LARGE] * 2)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(f"{prefix}checkpoint:at:one:3")
    with pytest.raises(CheckpointRefused, match="a part of it is gone"):
        b"".join(store.read("one"))
    store.close()


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_deletion_that_was_cut_short_is_finished_by_the_next(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """Redis goes away after any of its commands: in the end nothing is left, of a checkpoint that was never finished, too."""
    import redis

    monkeypatch.setattr(redis_checkpoints, "CHUNK_BYTES", 4)
    store = RedisCheckpoints(redis_url, prefix)
    run = store._run
    for n_commands in range(8):
        store.write("one", [bytes(4 * 20)])
        with redis.Redis.from_url(redis_url) as client:
            if not is_whole:
                client.delete(f"{prefix}checkpoint:at:one")
            left = [n_commands]

            def run_some(commands: Iterable[tuple[Any, ...]], left: list[int] = left) -> list[Any]:
                left[0] -= 1
                if left[0] < 0:
                    raise Unavailable("away")
                return run(commands)

            monkeypatch.setattr(store, "_run", run_some)
            with contextlib.suppress(Unavailable):
                store.delete("one")
            monkeypatch.setattr(store, "_run", run)
            for name in store.names():
                store.delete(name)
            assert client.keys(f"{prefix}*") == []
    store.close()


def test_redis_holds_no_large_ones(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused with what to do, and nothing of them stays; best before the first byte goes out."""
    monkeypatch.setattr(redis_checkpoints, "MAX_BYTES", 2 << 20)
    store = RedisCheckpoints(redis_url, prefix)
    with pytest.raises(ConfigError, match="set checkpoint_url"):
        store.write("one", [LARGE])
    assert store.names() == set()
    store.check_size(2 << 20)
    with pytest.raises(ConfigError, match=r"of 3 MiB .* holds 2: set checkpoint_url"):
        store.check_size(3 << 20)
    store.close()


def test_places_that_are_none_are_told(tmp_path: Path) -> None:
    """An unknown kind of URL is a mistake; a directory that cannot be made is away."""
    with pytest.raises(ConfigError, match="checkpoint_url"):
        FileCheckpoints("nosuchstore://bucket/x", "test:")
    with pytest.raises(ConfigError, match="write %2F for a /") as caught:
        FileCheckpoints("ftp://ann:hunter2/x@host/dir", "test:")
    assert "hunter2" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="checkpoints at file"):
        FileCheckpoints(str(tmp_path / "file" / "x"), "test:").write("one", [b""])


@pytest.mark.parametrize("place", ["directory", "bucket"])
def test_two_prefixes_may_have_one_place(tmp_path: Path, place: str) -> None:
    """Neither sees, nor removes, what is the other's: a worker deletes what its own pointer does not name."""
    url = str(tmp_path) if place == "directory" else f"memory://{uuid.uuid4().hex}/checkpoints"
    blue, green = FileCheckpoints(url, "blue:"), FileCheckpoints(url, "../green:")
    for store in (blue, green):
        assert (store.names(), store.read_pointer()) == (set(), None)
        store.write("one", [store.where.encode()])
        store.write_pointer(store.where.encode())
    green.delete("one")
    assert (blue.names(), green.names()) == ({"one"}, set())
    assert b"".join(blue.read("one")) == blue.read_pointer() == blue.where.encode()


@pytest.mark.parametrize("refusal", [None, errno.EINVAL, errno.EIO])
def test_a_pointer_in_a_directory_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    """Its bytes are on the disk before its name, its name before it counts; a file system that cannot is used as it is."""
    done, fsync, replace = list[str](), os.fsync, os.replace

    def synced(number: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(number).st_mode)
        done.append("directory" if is_directory else "file")
        if is_directory and refusal is not None:
            raise OSError(refusal, "refused")
        fsync(number)

    def renamed(old: str, new: str) -> None:
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    store = FileCheckpoints(str(tmp_path), "test:")
    with pytest.raises(Unavailable) if refusal == errno.EIO else contextlib.nullcontext():
        store.write_pointer(b"{}")
    assert done == ["file", "rename", "directory"]


def test_no_password_of_a_place_is_told() -> None:
    """Some backends keep user and password in the path, and name the path when something is wrong with it."""
    own = uuid.uuid4().hex
    fsspec.filesystem("memory").pipe_file(
        f"/ann:hunter2@{own}/checkpoints", b"a file where a directory belongs"
    )
    store = FileCheckpoints(f"memory://ann:hunter2@{own}/checkpoints", "test:")
    with pytest.raises(Unavailable, match=rf"\*\*\*@{own}") as away:
        store.write("one", [b""])
    assert "hunter2" not in f"{away.value} {away.value.__cause__} {store.where}"
