"""Which segment files a log keeps: as few as it can, as many as it needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from heroctl_core.errors import Damaged
from heroctl_core.raft.disk import Disk
from heroctl_core.raft.log import ZEROS_AHEAD, Log
from heroctl_core.raft.records import DumpRef

SEGMENT = 8192


def dump_at(log: Log, index: int) -> DumpRef:
    return DumpRef(index, log.term_at(index), "0" * 64, f"dump-{index}")


def one_segment_each(folder: Path, count: int) -> Log:
    """A log in which every entry has a segment of its own: entry n in segment n."""
    log = Log.create(folder, segment_bytes=SEGMENT)
    for index in range(2, count + 2):
        log.append(bytes(6000), index, 1)
        log.sync()
    assert len(list(folder.iterdir())) == count
    return log


def reopened(folder: Path) -> Log:
    log = Log.open(folder, segment_bytes=SEGMENT)
    log.close()
    return log


def numbers(folder: Path) -> list[int]:
    return sorted(int(path.name.split(".")[0]) for path in folder.iterdir())


@pytest.mark.parametrize("keep_from", range(1, 8))
def test_compaction_keeps_exactly_what_is_needed(tmp_path: Path, keep_from: int) -> None:
    """Segments whose last entry is the anchor or below go; the one with the next entry stays."""
    folder = tmp_path / "log"
    log = one_segment_each(folder, 7)
    assert log.last_index == 8
    log.compact(dump_at(log, 8), keep_from)
    log.close()
    again = reopened(folder)
    assert again.entries == log.entries
    assert numbers(folder) == list(range(keep_from, 8))


def test_unlinks_are_spread_over_the_syncs(tmp_path: Path) -> None:
    """One sync removes one file at most, and not before the one before it is gone."""
    folder = tmp_path / "log"
    log = one_segment_each(folder, 7)
    log.compact(dump_at(log, 8), 8)
    log._disk.wait_discarded()
    left = [numbers(folder)]
    for index in range(9, 14):
        log.append(b"", index, 1)
        log.sync()
        log._disk.wait_discarded()
        left.append(numbers(folder))
    assert left[:3] == [[2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7], [4, 5, 6, 7]]
    assert left[-1] == [7]


def test_install_needs_no_older_segment(tmp_path: Path) -> None:
    """An installed dump makes all older segments superfluous, whatever their indexes were."""
    folder = tmp_path / "log"
    log = one_segment_each(folder, 7)
    log.install(DumpRef(9, 2, "0" * 64, "dump-9"))
    log.close()
    assert reopened(folder).entries == [(b"\x01", 9, 2)]
    assert numbers(folder) == [7]


def test_truncated_entries_keep_no_segment(tmp_path: Path) -> None:
    """A segment full of truncated entries goes with the compaction of what replaced them."""
    folder = tmp_path / "log"
    log = one_segment_each(folder, 7)
    log.truncate_from(3)
    for index in range(3, 5):
        log.append(bytes(6000), index, 2)
        log.sync()
    assert numbers(folder)[-1] == 9
    log.compact(dump_at(log, 4), 4)
    log.append(b"", 5, 2)
    for _ in range(8):
        log.set_term(log.term + 1, None)
        log._disk.wait_discarded()
    assert numbers(folder) == [9]
    log.close()
    assert reopened(folder).entries == log.entries


def test_entry_that_is_bigger_than_a_segment(tmp_path: Path) -> None:
    """A frame is never split: its segment is as big as it must be."""
    folder = tmp_path / "log"
    log = Log.create(folder, segment_bytes=SEGMENT)
    log.append(bytes(100_000), 2, 1)
    log.append(b"small", 3, 1)
    log.sync()
    log.append(b"next", 4, 1)
    log.sync()
    log.close()
    assert reopened(folder).entries == log.entries


def test_segment_of_an_older_copy_of_the_log(tmp_path: Path) -> None:
    """A segment that a file backup brought back does not fit the chain, though it is whole."""
    folder, copy = tmp_path / "log", tmp_path / "copy"
    log = one_segment_each(folder, 3)
    log.close()
    shutil.copytree(folder, copy)
    for place, content in ((folder, b"a"), (copy, b"b")):
        log = Log.open(place, segment_bytes=SEGMENT)
        for index in range(5, 8):
            log.append(content * 6000, index, 1)
            log.sync()
        log.close()
    name = sorted(path.name for path in folder.iterdir())[-1]
    shutil.copy(copy / name, folder / name)
    with pytest.raises(Damaged, match=f"{name}.*frame 11 does not fit behind frame 10"):
        reopened(folder)


def test_segment_that_begins_with_another_state(tmp_path: Path) -> None:
    """What a segment says about the log so far is compared while the older ones are there."""
    folder = tmp_path / "log"
    log = one_segment_each(folder, 3)
    log._synced_base = log._synced_base._replace(term=7)  # a defect of ours
    log.append(bytes(6000), 5, 1)
    log.sync()
    log.close()
    with pytest.raises(Damaged, match="the base does not fit the segments before"):
        reopened(folder)


def test_a_segment_after_a_snapshot_fits_a_commit_index_from_before_it(tmp_path: Path) -> None:
    """The frame of an install may also carry how far the old log was committed: the segment that
    is begun next says what the snapshot made of it, and the log must open."""
    folder = tmp_path / "log"
    log = Log.create(folder, segment_bytes=SEGMENT)
    for index in range(2, 10):
        log.append(b"\x00", index, 1)
    log.set_commit(8)
    log.install(DumpRef(20, 1, "0" * 64, "dump-20"))
    for index in (21, 22):
        log.append(bytes(6000), index, 1)
        log.sync()
    log.close()
    again = reopened(folder)
    assert (again.entries, again.commit_index) == (log.entries, 20)


def test_large_frames_have_no_zeros_behind_them(tmp_path: Path) -> None:
    """Each would need its own; small ones behind them have them again."""
    disk = _Sizes()
    log = Log.create(tmp_path / "log", segment_bytes=16 * ZEROS_AHEAD, disk=disk)
    disk.written.clear()
    for index, size in enumerate([100_000, 100_000, 100, 100], 2):
        log.append(bytes(size), index, 1)
        log.sync()
    sizes = [size for _, size in disk.written]
    assert [size > 90_000 for size in sizes] == [True, True, False, True, False]
    log.close()


class _Sizes(Disk):
    """The real disk; notes where each write ends and how many bytes it has."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self.written.append((offset + len(data), len(data)))
        super().write(fd, data, offset)


def test_zeros_are_written_ahead_now_and_then(tmp_path: Path) -> None:
    """Most frames overwrite them, in every segment up to its end, and after a start again."""
    disk = _Sizes()
    segment_bytes = 2 * ZEROS_AHEAD
    log = Log.create(tmp_path / "log", segment_bytes=segment_bytes, disk=disk)
    disk.written.clear()
    for index in range(2, 302):
        log.append(bytes(1000), index, 1)
        log.sync()
    ahead = [size for _, size in disk.written if size > 2000]
    assert len(log._segments) == 2
    assert len(ahead) == 3  # twice in the first segment, once in the second
    assert max(end for end, _ in disk.written) == segment_bytes
    log.close()
    assert all(p.stat().st_size == segment_bytes for p in (tmp_path / "log").iterdir())

    disk = _Sizes()
    again = Log.open(tmp_path / "log", segment_bytes=segment_bytes, disk=disk)
    assert again.entries == log.entries
    for index in (302, 303):
        again.append(bytes(1000), index, 1)
        again.sync()
    assert [size > 2000 for _, size in disk.written] == [False, True, False]
    again.close()
