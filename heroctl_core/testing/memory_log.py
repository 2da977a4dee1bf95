"""A log in memory with power cuts: the simulator's stand-in for raft/log.py, and very fast."""

from __future__ import annotations

from typing import Self

from ..raft import records
from ..raft.log_state import LogState
from ..raft.records import Base, DumpRef
from ..raft.replay import ANCHOR_DATA, Entry


class MemoryLog(LogState):
    """The same calls and meanings as Log; `crash` gives back what a disk would have kept."""

    def __init__(self, base: Base, entries: list[Entry]) -> None:
        super().__init__(base, entries)
        self._dirty = False
        self._durable = base
        self._durable_entries = list(entries)
        self._changed_from = entries[-1][1] + 1  # entries below are the durable ones

    @classmethod
    def create(
        cls, *, anchor_index: int = 1, anchor_term: int = 0, dump: DumpRef | None = None
    ) -> Self:
        """A new log. With a dump the anchor is the dump's place."""
        base = records.first_base(anchor_index, anchor_term, dump)
        return cls(base, [(ANCHOR_DATA, base.anchor_index, base.anchor_term)])

    def crash(self, *, keep_unsynced: bool = False) -> Self:
        """The log after a power cut: what was synced. With `keep_unsynced` the cut came in the
        middle of a sync whose frame reached the disk as a whole; any other torn write is cut off
        at open, which is the same as losing it."""
        if keep_unsynced and self._dirty:
            commit = max(self._durable.commit_index, min(self.commit_index, self.last_index))
            return type(self)(self._base(commit), list(self.entries))
        return type(self)(self._durable, list(self._durable_entries))

    @property
    def dirty(self) -> bool:
        """Whether something waits for `sync`."""
        return self._dirty

    def append(self, data: bytes, index: int, term: int) -> None:
        self._check_append(index, term)
        self.entries.append((data, index, term))
        self._dirty = True

    def truncate_from(self, index: int) -> None:
        if index > self.last_index:
            return
        self._cut(index)
        self._changed_from = min(self._changed_from, index)
        self._dirty = True

    def set_term(self, term: int, vote: str | None) -> None:
        if term < self.term:
            raise ValueError(f"term {term} after term {self.term}")
        if (term, vote) == (self.term, self.vote):
            return
        self.term, self.vote = term, vote
        self._dirty = True
        self.sync()

    def set_commit(self, index: int) -> None:
        self.commit_index = index

    def install(self, dump: DumpRef) -> None:
        self._start_over(dump)
        self._durable_entries = list(self.entries)
        self._changed_from = dump.index + 1
        self._durable = self._base(dump.index)
        self._dirty = False

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        self._check_compact(dump, keep_from)
        self._dirty = True
        self.sync()
        self._forget_below(keep_from, dump)
        del self._durable_entries[: keep_from - self._durable_entries[0][1]]
        self._durable_entries[0] = self.entries[0]
        self._durable = self._base(max(self._durable.commit_index, dump.index))

    def sync(self) -> None:
        if not self._dirty:
            return
        start = self._changed_from - self._durable_entries[0][1]
        del self._durable_entries[start:]
        self._durable_entries += self.entries[start:]
        self._changed_from = self.last_index + 1
        self.synced_index = self.last_index
        self._dirty = False
        self.sync_commit()

    def sync_commit(self) -> None:
        if self._dirty:
            self.sync()
            return
        commit = max(self._durable.commit_index, min(self.commit_index, self.last_index))
        self._durable = self._base(commit)

    def close(self) -> None:
        """Nothing to do."""
