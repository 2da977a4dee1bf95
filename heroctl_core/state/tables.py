"""One table of rows: bytes in sharded dicts, copied on write, with its fingerprint.

It knows nothing about what is in a row. Dicts of text to bytes are not tracked by Python's
collector, so a million rows cost no pauses.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from .. import limits
from ..codec import shard_of

FINGERPRINT_MASK: Final = (1 << 256) - 1  # sums are modulo 2^256
_FILL_ROWS: Final = 500

Shard = dict[str, bytes]


def row_digest(kind: str, key: str, row: bytes) -> int:
    """sha256 over kind, key and row as a number; a fingerprint is the sum of these modulo 2^256.

    The kind ends with a zero byte and the key has its length before it, so no two different
    triples give the same bytes.
    """
    name = key.encode()
    head = _digest_head(kind)
    return int.from_bytes(sha256(head + len(name).to_bytes(4) + name + row).digest())


def digest_sum(kind: str, rows: Iterable[tuple[str, bytes]]) -> int:
    """The sum of row_digest over rows of one kind, a third faster; not reduced modulo 2^256."""
    head = _digest_head(kind)
    total = 0
    for key, row in rows:
        name = key.encode()
        total += int.from_bytes(sha256(head + len(name).to_bytes(4) + name + row).digest())
    return total


def _digest_head(kind: str) -> bytes:
    return b"%b\0" % kind.encode()


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class TableView:
    """The rows of one table at one moment; immutable, for any thread."""

    kind: str
    shards: tuple[Shard, ...]
    count: int
    fingerprint: int

    def get(self, key: str) -> bytes | None:
        """The row, or None."""
        return self.shards[shard_of(key)].get(key)

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Key and row, in the order of shard and key: the order of archives and dumps."""
        for shard in self.shards:
            for key in _sorted_keys(shard, prefix):
                yield key, shard[key]

    def by_name(self, prefix: str = "", after: str | None = None) -> Iterator[tuple[str, bytes]]:
        """Key and row in the order of the keys, behind the key `after`.

        Sorts by shard and merges: one sort of a million keys would hold the interpreter for half
        a second.
        """
        keys = heapq.merge(*(_sorted_keys(shard, prefix, after) for shard in self.shards))
        for key in keys:
            yield key, self.shards[shard_of(key)][key]


def _sorted_keys(shard: Shard, prefix: str, after: str | None = None) -> list[str]:
    if after is not None:
        return sorted(key for key in shard if key > after and key.startswith(prefix))
    return sorted(key for key in shard if key.startswith(prefix)) if prefix else sorted(shard)


class Table:
    """The rows of one kind. One thread writes; `get` is safe from any thread."""

    __slots__ = ("_digest_head", "_shared", "_views", "count", "fingerprint", "kind", "shards")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._digest_head = _digest_head(kind)
        self.shards: list[Shard] = [{} for _ in range(limits.SHARDS)]
        self.count = 0
        self.fingerprint = 0
        self._shared = bytearray(limits.SHARDS)  # 1: a view may hold this dict
        self._views: weakref.WeakSet[TableView] = weakref.WeakSet()

    def get(self, key: str) -> bytes | None:
        """The row, or None."""
        return self.shards[shard_of(key)].get(key)

    def put(self, key: str, row: bytes) -> None:
        """Writes one row."""
        shard = self._writable(shard_of(key))
        old = shard.get(key)
        name = key.encode()
        head = self._digest_head + len(name).to_bytes(4) + name
        change = int.from_bytes(sha256(head + row).digest())
        if old is None:
            self.count += 1
        else:
            change -= int.from_bytes(sha256(head + old).digest())
        self.fingerprint = (self.fingerprint + change) & FINGERPRINT_MASK
        shard[key] = row

    def fill(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Writes many new rows, in half the time that put takes for them; ValueError for a key
        that is there already."""
        source = iter(rows)
        while batch := list(islice(source, _FILL_ROWS)):
            for key, row in batch:
                shard = self._writable(shard_of(key))
                if key in shard:
                    raise ValueError(f"{self.kind} {key} comes twice")
                shard[key] = row
            self.count += len(batch)
            self.fingerprint += digest_sum(self.kind, batch)
        self.fingerprint &= FINGERPRINT_MASK

    def delete(self, key: str) -> None:
        """Drops a row that exists."""
        old = self._writable(shard_of(key)).pop(key)
        self.count -= 1
        self.fingerprint = (self.fingerprint - row_digest(self.kind, key, old)) & FINGERPRINT_MASK

    def view(self) -> TableView:
        """The rows as they are now, for O(shards); called by the thread that writes."""
        view = TableView(self.kind, tuple(self.shards), self.count, self.fingerprint)
        self._shared = bytearray(b"\x01" * limits.SHARDS)
        self._views.add(view)
        return view

    def _writable(self, number: int) -> Shard:
        """The shard, copied first when a living view holds it."""
        if self._shared[number]:
            if len(self._views):
                self.shards[number] = self.shards[number].copy()
            self._shared[number] = 0
        return self.shards[number]
