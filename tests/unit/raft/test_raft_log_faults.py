"""The log on a disk that fails, is full, or loses power between two of its operations."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from heroctl_core.errors import LogFault, LogFull, UsageError
from heroctl_core.raft.disk import Disk
from heroctl_core.raft.log import Log
from heroctl_core.raft.records import DumpRef
from heroctl_core.testing.crash_disk import CrashDisk, PowerCut

SEGMENT = 16 * 1024
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")


def make(tmp_path: Path) -> tuple[Log, CrashDisk]:
    disk = CrashDisk()
    return Log.create(tmp_path / "log", segment_bytes=SEGMENT, disk=disk), disk


def fill(log: Log, count: int, *, term: int = 1, size: int = 300) -> None:
    for index in range(log.last_index + 1, log.last_index + 1 + count):
        log.append(bytes([index % 251]) * size, index, term)


def reopened(tmp_path: Path) -> Log:
    log = Log.open(tmp_path / "log", segment_bytes=SEGMENT)
    log.close()
    return log


CALLS: dict[str, Callable[[Log], object]] = {
    "append": lambda log: log.append(b"", log.last_index + 1, 9),
    "truncate_from": lambda log: log.truncate_from(2),
    "set_term": lambda log: log.set_term(9, None),
    "set_term to the same": lambda log: log.set_term(log.term, log.vote),
    "install": lambda log: log.install(DumpRef(99, 9, "", "d")),
    "compact": lambda log: log.compact(DumpRef(2, 1, "", "d"), 2),
    "sync": lambda log: log.sync(),
    "sync_commit": lambda log: log.sync_commit(),
}


@pytest.mark.parametrize("operation", ["write", "sync_data"])
@pytest.mark.parametrize("call", CALLS)
def test_after_a_failed_sync_everything_is_refused(
    tmp_path: Path, operation: str, call: str
) -> None:
    """One I/O error stops the log for good, also when the disk seems to work again."""
    log, disk = make(tmp_path)
    fill(log, 3)
    disk.fail[operation] = BROKEN
    with pytest.raises(LogFault, match=r"segment could not be written: Input/output error"):
        log.sync()
    disk.fail.clear()
    assert log.synced_index == 1
    with pytest.raises(LogFault, match="Input/output error"):
        CALLS[call](log)
    log.close()


def test_no_space_from_fdatasync_is_a_fault(tmp_path: Path) -> None:
    """After a failed fdatasync nobody knows what is on the disk, whatever the error says."""
    log, disk = make(tmp_path)
    fill(log, 3)
    disk.fail["sync_data"] = NO_SPACE
    with pytest.raises(LogFault):
        log.sync()


def test_closed_log_is_refused(tmp_path: Path) -> None:
    """A call after close is a mistake of the caller, and close may be repeated."""
    log, _ = make(tmp_path)
    log.close()
    log.close()
    with pytest.raises(UsageError, match="the log is closed"):
        log.append(b"", 2, 1)


@pytest.mark.parametrize("operation", ["write", "create", "sync", "rename"])
def test_full_disk_may_resume(tmp_path: Path, operation: str) -> None:
    """Without space nothing counts; with space the same sync goes through, in a new segment too."""
    log, disk = make(tmp_path)
    fill(log, 3)
    log.sync()
    fill(log, 60)
    disk.fail[operation] = NO_SPACE
    for _ in range(3):
        with pytest.raises(LogFull, match=r"no space for the log in .*: No space left") as caught:
            log.sync()
        assert not isinstance(caught.value, LogFault)
        assert (log.dirty, log.synced_index, log.last_index) == (True, 4, 64)
        assert reopened(tmp_path).last_index == 4
    disk.fail.clear()
    log.sync()
    fill(log, 200)
    log.sync()
    assert log.synced_index == 264
    assert reopened(tmp_path).entries == log.entries


@pytest.mark.parametrize("call", ["set_term", "install", "compact"])
def test_durable_call_on_a_full_disk_has_no_effect(tmp_path: Path, call: str) -> None:
    """set_term, install and compact are as if never called when there was no space."""
    log, disk = make(tmp_path)
    fill(log, 3)
    disk.fail["write"] = NO_SPACE
    before = (list(log.entries), log.term, log.vote, log.dump)
    with pytest.raises(LogFull):
        CALLS[call](log)
    assert (list(log.entries), log.term, log.vote, log.dump) == before
    disk.fail.clear()
    log.sync()
    again = reopened(tmp_path)
    assert (again.entries, again.term, again.vote, again.dump) == before


def test_half_written_frame_before_a_new_segment_is_wiped(tmp_path: Path) -> None:
    """What a write without space left behind does not look like damage once the log goes on."""
    log, disk = make(tmp_path)
    fill(log, 3)
    log.sync()
    fill(log, 20)
    write = disk.write

    def write_half(fd: int, data: bytes, offset: int) -> None:
        write(fd, data[: len(data) // 2], offset)
        raise NO_SPACE

    disk.write = write_half  # type: ignore[method-assign]
    with pytest.raises(LogFull):
        log.sync()
    disk.write = write  # type: ignore[method-assign]
    log.truncate_from(6)
    fill(log, 1, size=20_000)  # too big for what is left of the segment
    log.sync()
    assert len(list((tmp_path / "log").iterdir())) == 2
    assert reopened(tmp_path).entries == log.entries


def test_shorter_frame_over_a_half_written_one(tmp_path: Path) -> None:
    """A durable call that found no space leaves bytes behind the next, shorter frame."""
    log, disk = make(tmp_path)
    fill(log, 3)
    write = disk.write

    def write_most(fd: int, data: bytes, offset: int) -> None:
        write(fd, data[:-1], offset)
        raise NO_SPACE

    disk.write = write_most  # type: ignore[method-assign]
    with pytest.raises(LogFull):
        log.set_term(7, "b" * 200)
    disk.write = write  # type: ignore[method-assign]
    log.sync()
    assert reopened(tmp_path).entries == log.entries
    fill(log, 1, size=20_000)
    log.sync()
    assert reopened(tmp_path).entries == log.entries


def test_without_space_for_the_zeros_the_frame_counts(tmp_path: Path) -> None:
    """They only make later writes cheap: what is said of the frame stays true."""
    log, disk = make(tmp_path)
    write = disk.write

    def write_no_zeros(fd: int, data: bytes, offset: int) -> None:
        if not any(data):
            write(fd, data[:100], offset)
            raise NO_SPACE
        write(fd, data, offset)

    disk.write = write_no_zeros  # type: ignore[method-assign]
    fill(log, 3)
    log.sync()
    log.set_term(7, "me")
    assert (log.synced_index, log.term) == (4, 7)
    again = reopened(tmp_path)
    assert (again.entries, again.term, again.vote) == (log.entries, 7, "me")


def test_a_disk_that_fails_at_the_zeros_stops_the_log(tmp_path: Path) -> None:
    """Only a full disk is no reason."""
    log, disk = make(tmp_path)
    write = disk.write

    def write_no_zeros(fd: int, data: bytes, offset: int) -> None:
        if not any(data):
            raise BROKEN
        write(fd, data, offset)

    disk.write = write_no_zeros  # type: ignore[method-assign]
    fill(log, 3)
    with pytest.raises(LogFault):
        log.sync()


@pytest.mark.parametrize("seed", range(6))
def test_what_a_start_finds_survives_a_power_cut(tmp_path: Path, seed: int) -> None:
    """A process that was killed before its sync left a frame that only the system has. The next
    one counts it, acknowledges it, and then the power goes."""
    log, disk = make(tmp_path)
    disk.sync_folder(tmp_path)  # CURRENT names it: it is there for good
    fill(log, 3)
    killed = disk.stop_at = len(disk.operations) + 2  # the frame and the zeros, not their sync
    with pytest.raises(PowerCut):
        log.sync()
    assert disk.operations[killed - 2 :] == ["write", "write"]
    disk.stop_at = None
    again = Log.open(tmp_path / "log", segment_bytes=SEGMENT, disk=disk)
    assert again.last_index == 4
    again.close()
    disk.power_cut(random.Random(seed))
    assert reopened(tmp_path).last_index == 4


@pytest.mark.parametrize(
    ("error", "kind"), [(NO_SPACE, LogFull), (BROKEN, LogFault)], ids=["full", "broken"]
)
def test_log_cannot_be_made(tmp_path: Path, error: OSError, kind: type[Exception]) -> None:
    """Making a log where nothing can be written says so, and can be tried again."""
    disk = CrashDisk()
    disk.fail["create"] = error
    with pytest.raises(kind, match=r"cannot make a log in .*log"):
        Log.create(tmp_path / "log", disk=disk)
    disk.fail.clear()
    Log.create(tmp_path / "log", disk=disk).close()


def test_log_is_not_made_over_another(tmp_path: Path) -> None:
    """A folder that has something in it is refused and left alone."""
    log, _ = make(tmp_path)
    fill(log, 3)
    log.sync()
    with pytest.raises(UsageError, match="log is not empty"):
        Log.create(tmp_path / "log")
    assert reopened(tmp_path).last_index == 4


def life(log: Log, promise: Callable[[str, object], None]) -> None:
    """A log's life with every kind of call; says what it was promised, step by step."""
    for round_ in range(1, 4):
        log.set_term(round_, "a" * 32)
        promise("term", round_)
        fill(log, 20, term=round_)
        log.sync()
        promise("last", log.last_index)
        log.truncate_from(log.last_index - 3)
        fill(log, 30, term=round_)
        log.sync()
        promise("last", log.last_index)
        dump = DumpRef(log.last_index - 5, round_, "0" * 64, f"dump-{round_}")
        log.compact(dump, dump.index - 5)
        promise("dump", dump)
    dump = DumpRef(1000, 5, "1" * 64, "dump-4")
    log.install(dump)
    promise("dump", dump)
    promise("last", 1000)
    fill(log, 80, term=5)
    log.sync()
    promise("last", 1080)


def operations_of_a_life(tmp_path: Path) -> int:
    disk = CrashDisk()
    log = Log.create(tmp_path / "count", segment_bytes=SEGMENT, disk=disk)
    life(log, lambda *_: None)
    log.close()
    return len(disk.operations)


@pytest.mark.parametrize("seed", range(4))
def test_power_cut_between_any_two_operations(tmp_path: Path, seed: int) -> None:
    """Wherever the power fails, and whatever part of the unsynced bytes and names survives, the
    log opens again and everything it promised is there."""
    total = operations_of_a_life(tmp_path)
    assert total > 60
    for stop_at in range(total + 1):
        chance = random.Random(seed * 1000 + stop_at)
        folder = tmp_path / f"log-{stop_at}"
        disk = CrashDisk()
        log = Log.create(folder, segment_bytes=SEGMENT, disk=disk)
        disk.stop_at = stop_at
        promised: dict[str, object] = {"term": 0, "last": 1, "dump": None}
        try:
            life(log, promised.__setitem__)
        except PowerCut:
            pass
        disk.power_cut(chance)
        check_promises(Log.open(folder, segment_bytes=SEGMENT), promised)


def check_promises(log: Log, promised: dict[str, object]) -> None:
    assert log.term >= int(str(promised["term"]))
    # The life truncates three entries before it adds more, which may be the last thing it did.
    assert log.last_index >= int(str(promised["last"])) - 4
    assert log.entries[-1][2] <= max(log.term, 5)
    if isinstance(promised["dump"], DumpRef):
        assert log.dump is not None
        assert log.dump.index >= promised["dump"].index
    indexes = [index for _, index, _ in log.entries]
    assert indexes == list(range(indexes[0], indexes[-1] + 1))
    for data, index, _ in log.entries[1:]:
        assert data == bytes([index % 251]) * 300
    log.close()
    again = Log.open(log._folder, segment_bytes=SEGMENT)
    assert again.entries == log.entries
    again.close()


def test_a_segment_that_cannot_be_removed_ends_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real disk it is removed beside the loop, so the next one to be removed tells."""
    log = Log.create(tmp_path / "log", segment_bytes=SEGMENT)

    def fail(_disk: Disk, _path: Path) -> None:
        raise BROKEN

    monkeypatch.setattr(Disk, "unlink", fail)
    with pytest.raises(LogFault, match="Input/output error"):
        for index in range(2, 2_000):
            log.append(b"x" * 1000, index, 1)
            log.sync()
            if index % 50 == 0:
                log.compact(DumpRef(index, 1, "0" * 64, f"dump-{index}"), index)
                log._disk.wait_discarded()
    log.close()


def test_segments_are_removed_one_at_a_time_and_close_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is being removed the log goes on; afterwards the folder holds only what counts."""
    gate = threading.Event()
    unlink, removed = Disk.unlink, []

    def slow(disk: Disk, path: Path) -> None:
        assert gate.wait(10)
        removed.append(path.name)
        unlink(disk, path)

    monkeypatch.setattr(Disk, "unlink", slow)
    log = Log.create(tmp_path / "log", segment_bytes=SEGMENT)
    fill(log, 300)
    log.sync()
    for _ in range(20):
        fill(log, 30)
        log.sync()
    log.compact(DumpRef(log.last_index, 1, "0" * 64, "dump"), log.last_index)
    there = len(list((tmp_path / "log").iterdir()))
    fill(log, 10)
    log.sync()
    assert removed == [] and there > 5
    gate.set()
    log.close()
    assert len(removed) == 1
    assert reopened(tmp_path).entries == log.entries
    assert removed == sorted(removed) and len(list((tmp_path / "log").iterdir())) <= 2
