"""A log in memory: what its calls mean, without how they become durable.

`raft/log.py` and `testing/memory_log.py` are the two kinds of it, and
tests/contract/test_contract_log.py holds for both.
"""

from __future__ import annotations

from .records import Base, DumpRef
from .replay import ANCHOR_DATA, Entry


class LogState:
    """Entries from the anchor on, term, vote, commit index, current dump.

    `entries[0]` is the anchor: it stands for everything up to its index and has no data of its own.
    The list stays the same object for the log's whole life.
    """

    def __init__(self, base: Base, entries: list[Entry]) -> None:
        self.entries: list[Entry] = entries
        self.term: int = base.term
        self.vote: str | None = base.vote
        self.dump: DumpRef | None = base.dump
        lowest = base.anchor_index if base.dump is None else base.dump.index
        self.commit_index: int = max(lowest, min(base.commit_index, entries[-1][1]))
        self.synced_index: int = entries[-1][1]

    @property
    def first_index(self) -> int:
        """The anchor's index."""
        return self.entries[0][1]

    @property
    def last_index(self) -> int:
        return self.entries[-1][1]

    def term_at(self, index: int) -> int:
        """The term of an entry that the log holds, the anchor included."""
        at = index - self.entries[0][1]
        if not 0 <= at < len(self.entries):
            raise ValueError(f"entry {index} is not in {self.first_index}..{self.last_index}")
        return self.entries[at][2]

    def _base(self, commit_index: int) -> Base:
        """This moment, without the entries."""
        _, anchor_index, anchor_term = self.entries[0]
        _, last_index, last_term = self.entries[-1]
        places = (anchor_index, anchor_term, last_index, last_term)
        return Base(*places, self.term, self.vote, commit_index, self.dump)

    def _check_append(self, index: int, term: int) -> None:
        _, last_index, last_term = self.entries[-1]
        if index != last_index + 1 or term < last_term:
            raise ValueError(
                f"entry {index} of term {term} cannot follow entry {last_index} of term {last_term}"
            )

    def _cut(self, index: int) -> None:
        """Drops the entries from `index` on."""
        if index <= self.entries[0][1]:
            raise ValueError(f"cannot truncate at {index}, the anchor is {self.first_index}")
        del self.entries[index - self.entries[0][1] :]
        self.synced_index = min(self.synced_index, index - 1)

    def _check_compact(self, dump: DumpRef, keep_from: int) -> None:
        if not self.first_index <= keep_from <= dump.index <= self.last_index:
            raise ValueError(
                f"cannot keep from {keep_from} with a dump at {dump.index}: "
                f"the log is {self.first_index}..{self.last_index}"
            )

    def _forget_below(self, keep_from: int, dump: DumpRef) -> None:
        term = self.term_at(keep_from)
        del self.entries[: keep_from - self.entries[0][1]]
        self.entries[0] = (ANCHOR_DATA, keep_from, term)
        self.dump = dump
        self.commit_index = max(self.commit_index, dump.index)

    def _start_over(self, dump: DumpRef) -> None:
        """Everything is now in `dump`."""
        self.entries[:] = [(ANCHOR_DATA, dump.index, dump.term)]
        self.dump = dump
        self.commit_index = self.synced_index = dump.index
