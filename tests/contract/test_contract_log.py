"""What every log promises: the durable one and the simulator's give the same answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from heroctl_core.raft.log import DumpRef, Log
from heroctl_core.raft.log_state import LogState
from heroctl_core.testing.memory_log import MemoryLog

ANCHOR = b"\x01"


class Subject(Protocol):
    """A log and the way to see what a power cut would leave of it."""

    log: Log | MemoryLog

    def crash(self) -> None: ...


class DurableSubject:
    """A crash copies the folder: what was not synced is in no file yet."""

    def __init__(self, folder: Path, dump: DumpRef | None = None) -> None:
        self._folder = folder / "log-0"
        self._count = 0
        self.log: Log = Log.create(self._folder, dump=dump, segment_bytes=8192)

    def crash(self) -> None:
        self._count += 1
        copy = self._folder.parent / f"log-{self._count}"
        self.log._disk.wait_discarded()
        shutil.copytree(self._folder, copy)
        self.log.close()
        self._folder = copy
        self.log = Log.open(copy, segment_bytes=8192)


class MemorySubject:
    def __init__(self, _folder: Path, dump: DumpRef | None = None) -> None:
        self.log: MemoryLog = MemoryLog.create(dump=dump)

    def crash(self) -> None:
        self.log = self.log.crash()


Make = Callable[..., DurableSubject | MemorySubject]


@pytest.fixture(params=[DurableSubject, MemorySubject], ids=["durable", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def _make(dump: DumpRef | None = None) -> DurableSubject | MemorySubject:
        subject: DurableSubject | MemorySubject = request.param(tmp_path, dump)
        return subject

    return _make


def dump_at(index: int, term: int) -> DumpRef:
    return DumpRef(index, term, f"{index:064x}", f"1-abcd-{index}-{term}.dump")


def fill(log: LogState, first: int, last: int, term: int) -> None:
    for index in range(first, last + 1):
        log.append(b"entry %d of term %d" % (index, term) + bytes(500), index, term)  # type: ignore[attr-defined]


def places(log: LogState) -> list[tuple[int, int]]:
    return [(index, term) for _, index, term in log.entries]


def test_new_log_is_an_anchor(make: Make) -> None:
    """A new log holds only the anchor (1, 0), has no vote and is not dirty."""
    log = make().log
    assert log.entries == [(ANCHOR, 1, 0)]
    assert (log.term, log.vote, log.commit_index, log.dump) == (0, None, 1, None)
    assert (log.synced_index, log.dirty) == (1, False)


def test_log_from_a_dump(make: Make) -> None:
    """A log made with a dump begins at the dump's place, in its term, committed so far."""
    subject = make(dump_at(2, 1))
    for _ in range(2):
        log = subject.log
        assert log.entries == [(ANCHOR, 2, 1)]
        assert (log.term, log.commit_index, log.dump) == (1, 2, dump_at(2, 1))
        subject.crash()


def test_only_synced_entries_survive(make: Make) -> None:
    """Appended entries are there at once, durable after sync, and gone in a crash before it."""
    subject = make()
    fill(subject.log, 2, 30, 1)
    assert (subject.log.dirty, subject.log.synced_index) == (True, 1)
    subject.log.sync()
    assert (subject.log.dirty, subject.log.synced_index) == (False, 30)
    fill(subject.log, 31, 35, 2)
    entries = subject.log.entries[:30]
    subject.crash()
    assert subject.log.entries == entries
    assert subject.log.synced_index == 30


def test_truncate_and_append_again(make: Make) -> None:
    """Truncation needs a sync like everything; the entries after it are the new ones."""
    subject = make()
    fill(subject.log, 2, 30, 1)
    subject.log.sync()
    subject.log.truncate_from(11)
    assert (subject.log.dirty, subject.log.synced_index) == (True, 10)
    fill(subject.log, 11, 15, 3)
    subject.log.sync()
    entries = list(subject.log.entries)
    subject.log.truncate_from(5)
    subject.crash()
    assert subject.log.entries == entries
    assert places(subject.log)[-6:] == [(10, 1), *((i, 3) for i in range(11, 16))]


def test_truncated_before_sync(make: Make) -> None:
    """Entries that were truncated before any sync leave no trace."""
    subject = make()
    fill(subject.log, 2, 9, 1)
    subject.log.truncate_from(4)
    fill(subject.log, 4, 5, 2)
    subject.log.sync()
    subject.crash()
    assert places(subject.log) == [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]


def test_truncating_beyond_the_end_does_nothing(make: Make) -> None:
    """Dropping entries that are not there is no change."""
    log = make().log
    log.truncate_from(2)
    assert (log.entries, log.dirty) == ([(ANCHOR, 1, 0)], False)


def test_term_and_vote_are_durable_at_once(make: Make) -> None:
    """set_term is durable when it returns, also without a vote and without a sync."""
    subject = make()
    fill(subject.log, 2, 3, 0)
    subject.log.set_term(4, "a" * 32)
    subject.crash()
    assert (subject.log.term, subject.log.vote) == (4, "a" * 32)
    assert subject.log.synced_index == 3
    subject.log.set_term(5, None)
    subject.crash()
    assert (subject.log.term, subject.log.vote) == (5, None)


def test_commit_rides_with_the_next_frame(make: Make) -> None:
    """The commit index alone does not make the log dirty; it is durable with the next entries."""
    subject = make()
    fill(subject.log, 2, 9, 1)
    subject.log.sync()
    subject.log.set_commit(7)
    assert not subject.log.dirty
    subject.log.sync()
    subject.crash()
    assert subject.log.commit_index == 1
    subject.log.set_commit(8)
    fill(subject.log, 10, 10, 1)
    subject.log.sync()
    subject.crash()
    assert subject.log.commit_index == 8


def test_commit_is_never_above_the_entries(make: Make) -> None:
    """A commit index above the durable end is cut to it (defect 11)."""
    subject = make()
    fill(subject.log, 2, 9, 1)
    subject.log.set_commit(100)
    subject.log.sync()
    subject.crash()
    assert subject.log.commit_index == 9
    subject.log.truncate_from(5)
    subject.log.sync()
    subject.crash()
    assert subject.log.commit_index == 4


def test_sync_commit_makes_the_commit_index_durable(make: Make) -> None:
    """A clean stop can note the commit index without a new entry."""
    subject = make()
    fill(subject.log, 2, 9, 1)
    subject.log.sync()
    subject.log.set_commit(9)
    subject.log.sync_commit()
    subject.crash()
    assert subject.log.commit_index == 9


def test_compact_moves_the_anchor(make: Make) -> None:
    """Compaction names the dump and drops what lies below the new anchor, durably."""
    subject = make()
    fill(subject.log, 2, 40, 1)
    fill(subject.log, 41, 60, 2)
    subject.log.sync()
    subject.log.compact(dump_at(50, 2), 45)
    for _ in range(2):
        log = subject.log
        assert log.entries[0] == (ANCHOR, 45, 2)
        assert places(log)[1:] == [(i, 2) for i in range(46, 61)]
        assert (log.dump, log.commit_index) == (dump_at(50, 2), 50)
        subject.crash()


def test_compact_up_to_the_end(make: Make) -> None:
    """A log whose every entry is in the dump is only an anchor, and goes on from it."""
    subject = make()
    fill(subject.log, 2, 40, 3)
    subject.log.sync()
    subject.log.compact(dump_at(40, 3), 40)
    fill(subject.log, 41, 41, 3)
    subject.log.sync()
    subject.crash()
    assert places(subject.log) == [(40, 3), (41, 3)]


def test_compact_twice_and_truncate_between(make: Make) -> None:
    """Compaction, truncation and new entries in any order give the same log after a crash."""
    subject = make()
    fill(subject.log, 2, 40, 1)
    subject.log.sync()
    subject.log.compact(dump_at(20, 1), 10)
    subject.log.truncate_from(30)
    fill(subject.log, 30, 70, 2)
    subject.log.sync()
    subject.log.compact(dump_at(65, 2), 60)
    fill(subject.log, 71, 90, 4)
    subject.log.sync()
    entries = list(subject.log.entries)
    subject.crash()
    assert subject.log.entries == entries
    assert places(subject.log)[0] == (60, 2)


def test_install_replaces_everything(make: Make) -> None:
    """An installed dump is the whole log; entries before it and unsynced ones are gone."""
    subject = make()
    fill(subject.log, 2, 40, 1)
    subject.log.sync()
    fill(subject.log, 41, 45, 1)
    subject.log.install(dump_at(500, 7))
    for _ in range(2):
        log = subject.log
        assert log.entries == [(ANCHOR, 500, 7)]
        assert (log.dump, log.commit_index, log.synced_index) == (dump_at(500, 7), 500, 500)
        assert not log.dirty
        subject.crash()
    fill(subject.log, 501, 560, 8)
    subject.log.sync()
    subject.crash()
    assert places(subject.log)[:2] == [(500, 7), (501, 8)]


def test_the_list_of_entries_stays_the_same_object(make: Make) -> None:
    """Whoever holds `entries` sees every change."""
    log = make().log
    entries = log.entries
    fill(log, 2, 40, 1)
    log.truncate_from(30)
    log.compact(dump_at(20, 1), 20)
    log.install(dump_at(500, 7))
    assert log.entries is entries


def test_misuse_is_refused_and_changes_nothing(make: Make) -> None:
    """Gaps, falling terms and cutting the anchor are defects of the caller, not of the log."""
    log = make().log
    fill(log, 2, 9, 5)
    log.set_term(6, None)
    for wrong in (
        lambda: log.append(b"", 11, 6),
        lambda: log.append(b"", 9, 6),
        lambda: log.append(b"", 10, 4),
        lambda: log.truncate_from(1),
        lambda: log.set_term(5, None),
        lambda: log.compact(dump_at(10, 5), 9),
        lambda: log.compact(dump_at(8, 5), 9),
        lambda: log.compact(dump_at(8, 5), 0),
    ):
        with pytest.raises(ValueError, match=r"\d"):
            wrong()
    assert places(log) == [(1, 0), *((i, 5) for i in range(2, 10))]
    assert (log.term, log.dirty) == (6, False)
