"""The newest changes of rows, in the order of the log, for those who watch.

One thread appends, any thread reads: what a reader has in hand is never changed, only left behind.
Events are plain tuples of text and bytes, which do not burden Python's collector.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from .. import limits

# (revision, kind, key, row): the row after the command that made `revision`, None when it is gone.
Event = tuple[int, str, str, bytes | None]

# Not watched: the keyring is nobody's business, samples of metrics come every minute by thousands.
UNWATCHED: Final = frozenset({"keyring", "metrics"})
_CHUNK_EVENTS: Final = 1000


class History:
    """The events above `floor`, bounded by limits.WATCH_EVENTS and WATCH_BYTES.

    All events of one revision stand together: a reader sees all of them or none.
    """

    __slots__ = ("_bytes", "_chunks", "_count", "floor")

    def __init__(self, floor: int = 0) -> None:
        """Nothing is known of the revisions up to `floor`."""
        self.floor = floor
        self._chunks: list[list[Event]] = [[]]
        self._count = 0
        self._bytes = [0]  # of each chunk

    def __len__(self) -> int:
        return self._count

    def extend(self, events: list[Event]) -> None:
        """Adds the events of the next revision."""
        is_large = self._bytes[-1] >= limits.WATCH_BYTES // 16
        if is_large or len(self._chunks[-1]) >= _CHUNK_EVENTS:
            # Another list: a reader may have the old one in hand.
            self._chunks = [*self._chunks, []]
            self._bytes.append(0)
            self._trim()
        self._chunks[-1] += events
        self._count += len(events)
        for _, _, key, row in events:
            self._bytes[-1] += len(key) + (len(row) if row is not None else 0)

    def after(self, revision: int, most: int) -> list[Event]:
        """The first events above `revision`: about `most` of them, whole revisions. Those at or
        below the floor are lost; ask `floor` after this, it may just have risen."""
        chunks = self._chunks
        first = bisect_right(chunks, revision, key=_last_revision)
        found: list[Event] = []
        for chunk in chunks[first:]:
            start = bisect_right(chunk, revision, key=_revision) if not found else 0
            stop = min(len(chunk), start + most - len(found))
            if start < stop < len(chunk):
                stop = bisect_right(chunk, chunk[stop - 1][0], key=_revision)
            found += chunk[start:stop]
            if len(found) >= most:
                break
        return found

    def _trim(self) -> None:
        """Forgets the oldest chunks when there is too much."""
        while len(self._chunks) > 2 and (
            self._count > limits.WATCH_EVENTS or sum(self._bytes) > limits.WATCH_BYTES
        ):
            oldest = self._chunks[0]
            self.floor = oldest[-1][0]  # first: a reader who misses the chunk sees why
            self._chunks = self._chunks[1:]
            self._count -= len(oldest)
            del self._bytes[0]


def _revision(event: Event) -> int:
    return event[0]


def _last_revision(chunk: list[Event]) -> int:
    return chunk[-1][0] if chunk else 2**63
