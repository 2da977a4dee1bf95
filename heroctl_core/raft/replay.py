"""What a log is after a list of records: the rules that every record must obey. Pure.

Replay may begin in the middle of a log's life, because compaction unlinks whole segments: the
entries up to `Base.last_index` are then unknown, and must turn out not to be needed.
"""

from __future__ import annotations

from . import records
from .records import Base, DumpRef

Entry = tuple[bytes, int, int]  # (data, index, term)

ANCHOR_DATA = b"\x01"


class Replay:
    """Feeds on records; raises ValueError for one that breaks a rule."""

    def __init__(self, base: Base) -> None:
        self.anchor = (base.anchor_index, base.anchor_term)
        self.last = (base.last_index, base.last_term)
        self.known: list[Entry] = []
        self.first_known = base.last_index + 1
        self.term = base.term
        self.vote = base.vote
        self.commit_index = base.commit_index
        self.dump = base.dump

    def base(self) -> Base:
        """What a segment that begins now has to say."""
        return Base(*self.anchor, *self.last, self.term, self.vote, self.commit_index, self.dump)

    def missing(self) -> int | None:
        """The first index that is needed and unknown, or None when the log is whole."""
        first_needed = self.anchor[0] + 1
        return first_needed if first_needed < self.first_known else None

    def entries(self) -> list[Entry]:
        """The anchor and everything behind it; only when nothing is missing."""
        skip = self.anchor[0] + 1 - self.first_known
        return [(ANCHOR_DATA, *self.anchor), *self.known[max(skip, 0) :]]

    def feed(self, kind: int, body: bytes) -> None:
        """Applies one record."""
        if kind == records.ENTRY:
            self._append(*records.decode_entry(body))
        elif kind == records.COMMIT:
            # Never back: the frame of an install ends with how far the log before it was committed.
            self.commit_index = max(self.commit_index, records.decode_commit(body))
        elif kind == records.TERM:
            self._set_term(*records.decode_term(body))
        elif kind == records.TRUNCATE:
            self._truncate(*records.decode_truncate(body))
        elif kind == records.COMPACT:
            self._compact(*records.decode_compact(body))
        elif kind == records.INSTALL:
            self._install(records.decode_install(body))
        else:
            raise ValueError(f"unknown record kind {kind}")

    def _append(self, data: bytes, index: int, term: int) -> None:
        last_index, last_term = self.last
        if index != last_index + 1:
            raise ValueError(f"entry {index} follows entry {last_index}")
        if term < last_term:
            raise ValueError(f"entry {index} has term {term} after term {last_term}")
        self.known.append((data, index, term))
        self.last = (index, term)

    def _set_term(self, term: int, vote: str | None) -> None:
        if term < self.term:
            raise ValueError(f"term {term} after term {self.term}")
        self.term, self.vote = term, vote

    def _truncate(self, index: int, term_before: int) -> None:
        if not self.anchor[0] < index <= self.last[0]:
            raise ValueError(f"truncated at {index}, the log is {self.anchor[0]} to {self.last[0]}")
        del self.known[max(index - self.first_known, 0) :]
        self.first_known = min(self.first_known, index)
        self.last = (index - 1, term_before)

    def _compact(self, keep_from: int, term: int, dump: DumpRef) -> None:
        if not self.anchor[0] <= keep_from <= dump.index <= self.last[0]:
            raise ValueError(
                f"compacted to {keep_from} with a dump at {dump.index}, "
                f"the log is {self.anchor[0]} to {self.last[0]}"
            )
        at = keep_from - self.first_known
        if at >= 0 and self.known[at][2] != term:
            raise ValueError(f"entry {keep_from} has term {self.known[at][2]}, not {term}")
        self.anchor, self.dump = (keep_from, term), dump
        self.commit_index = max(self.commit_index, dump.index)

    def _install(self, dump: DumpRef) -> None:
        self.anchor = self.last = (dump.index, dump.term)
        self.known, self.first_known = [], dump.index + 1
        self.dump, self.commit_index = dump, dump.index
