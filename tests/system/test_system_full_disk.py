"""A disk that is full or read-only: the old content stays, the error says what to do."""

from __future__ import annotations

import errno
import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heroctl_core.control_plane import ControlPlane
from heroctl_core.errors import FileFault, LogFault, LogFull, NotApplied, OutcomeUnknown, ReadOnly
from heroctl_core.files import lock_dir, write_atomic
from heroctl_core.raft.log import Log
from heroctl_core.raft.port import Mode

pytestmark = pytest.mark.system

KIB = 1024


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4 * KIB))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


def test_a_file_that_does_not_fit_leaves_the_old_one(small_disk: Path) -> None:
    """Writing over a file on a full disk fails with a hint; no partial file takes room after it."""
    target = small_disk / "snap.tar.gz"
    write_atomic(target, b"the old one")
    with pytest.raises(FileFault, match="no space left") as caught:
        write_atomic(target, bytes(1024 * KIB))
    assert "free some space" in str(caught.value.hint)
    assert target.read_bytes() == b"the old one"
    assert [path.name for path in small_disk.iterdir()] == [target.name]


def test_a_folder_on_a_full_disk_is_not_held_after_the_error(small_disk: Path) -> None:
    """The lock cannot name its holder: an error; with room again the same process gets it."""
    ballast = fill(small_disk)
    for _ in range(2):
        with pytest.raises(FileFault, match="lock: no space left"):
            lock_dir(small_disk)
    ballast.unlink()
    lock_dir(small_disk).release()


def test_a_read_only_disk_says_so(small_disk: Path) -> None:
    """The hint tells a read-only file system from a full one."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(FileFault) as caught:
        write_atomic(small_disk / "snap.tar.gz", b"x")
    assert "read-only" in str(caught.value.hint)


def test_a_full_log_keeps_what_was_synced_and_goes_on(small_disk: Path) -> None:
    """LogFull loses nothing: with room again the same sync succeeds, and a restart shows all."""
    log = Log.create(small_disk / "log", segment_bytes=64 * KIB)
    ballast = fill(small_disk)
    index = 1
    with pytest.raises(LogFull, match="no space"):
        while True:
            index += 1
            log.append(bytes(4 * KIB), index, 1)
            log.sync()
    assert log.synced_index == index - 1 > 10
    with pytest.raises(LogFull):
        log.sync()
    ballast.unlink()
    log.sync()
    assert log.synced_index == index
    log.close()
    again = Log.open(small_disk / "log", segment_bytes=64 * KIB)
    assert [entry[1] for entry in again.entries] == [*range(1, index + 1)]
    again.close()


def test_a_crash_on_a_full_disk_keeps_what_was_synced(small_disk: Path) -> None:
    """What sync returned for is there after a start, also when the disk is still full."""
    log = Log.create(small_disk / "log", segment_bytes=64 * KIB)
    fill(small_disk)
    index = 1
    with pytest.raises(LogFull):
        while True:
            index += 1
            log.append(bytes(4 * KIB), index, 1)
            log.sync()
    log.close()
    again = Log.open(small_disk / "log", segment_bytes=64 * KIB)
    assert again.last_index == index - 1
    again.close()


@pytest.fixture
def node_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB, enough for a node with a log of two segments."""
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "disk", point], check=True)
    yield point
    subprocess.run(["umount", "--lazy", point], check=True)


def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds, for 30 s at most."""
    end_s = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end_s
        threading.Event().wait(0.02)


def test_a_node_on_a_full_disk_is_read_only_until_there_is_room(node_disk: Path) -> None:
    """It says why, still answers stale reads, stops nothing, and goes on by itself: with all that
    it acknowledged, and without a restart."""
    acknowledged: list[str] = []
    with ControlPlane.open(data_dir=node_disk / "data") as plane:
        ballast = fill(node_disk)
        for number in itertools.count():
            try:
                plane.jobs.put(f"job-{number}", {"value": "x" * 150_000})
            except (OutcomeUnknown, NotApplied):
                break
            acknowledged.append(f"job-{number}")
        assert len(acknowledged) > 20
        until(lambda: plane.status().mode is Mode.READ_ONLY)
        with pytest.raises(ReadOnly, match="no space") as caught:
            plane.jobs.put("more", {})
        assert "make room" in str(caught.value.hint)
        assert any("no space" in warning for warning in plane.status().raft.warnings)
        assert plane.jobs.get("job-0", consistency="stale").spec["value"]
        ballast.unlink()
        until(lambda: plane.status().is_ready)
        assert plane.fault is None
        plane.jobs.put("more", {})
        names = {job.name for job in plane.jobs.list()}
        assert names >= {*acknowledged, "more"}


def test_a_log_on_a_read_only_disk_is_refused(small_disk: Path) -> None:
    """A node must not start on a log that it cannot write."""
    Log.create(small_disk / "log", segment_bytes=64 * KIB).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(LogFault):
        Log.open(small_disk / "log", segment_bytes=64 * KIB)
