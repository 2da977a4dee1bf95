"""One watch: the changes of rows that somebody wants, waiting until they are taken.

A cursor is `EPOCH.REVISION`: everything up to that revision was seen. Who fills the queues is in
watches.py; decoding is the watcher's work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from .. import limits
from ..errors import HeroctlError
from ..state.events import Event
from .access import Actor
from .values import Value, invalid


@dataclass(frozen=True, slots=True)
class Change:
    """One row as it is after `revision`; `value` is None when it is gone. A secret's value is never
    in it."""

    cursor: str
    revision: int
    action: str  # put | delete
    kind: str  # job | secret | policy | token | ingress | node
    name: str  # of a token that is gone: its accessor
    value: Value | None

    def to_json(self) -> dict[str, Any]:
        """As the API and the command line show it."""
        shown = {"cursor": self.cursor, "revision": self.revision, "action": self.action}
        value = None if self.value is None else self.value.to_json()
        return {**shown, "kind": self.kind, "name": self.name, "value": value}


class Hub(Protocol):
    """What a watch needs of watches.Watches."""

    epoch: int
    position: int

    def change(self, event: Event, seen: int) -> Change: ...
    def may_see(self, event: Event, actor: Actor) -> bool: ...
    def forget(self, watch: Watch) -> None: ...


class Watch:
    """The changes that one watcher wants, in the order of the log. For one thread; an iterator, and
    a context manager."""

    def __init__(
        self, hub: Hub, place: tuple[str, str], actor: Actor, notify: Callable[[], None] | None
    ) -> None:
        self.place = place  # (table, prefix of its keys); ("", "") is everything
        self._hub = hub
        self._actor = actor
        self._notify = notify
        self._queue: deque[tuple[Event, int]] = deque()  # with what is seen once it was taken
        self._most = limits.WATCH_QUEUE
        self._filled = threading.Event()
        self._error: HeroctlError | None = None
        self._closed = False
        self._epoch = 0
        self._after = 0  # events up to this revision are not for this watcher
        self._seen = 0

    # -- the watcher's side

    @property
    def cursor(self) -> str:
        """Where to go on later: everything up to there was taken, or did not concern this watch."""
        position = self._hub.position  # first: what is up to there was pushed before it was set
        behind = bool(self._queue) or self._error is not None
        return f"{self._epoch}.{self._seen if behind else max(position, self._seen)}"

    def take(self, most: int | None = None, most_bytes: int | None = None) -> list[Change]:
        """The next changes that came and were not taken yet, without waiting: at most so many, and
        about so many bytes of rows. When there is nothing any more because the watch has ended, its
        reason: another WatchEnded or NodeFault."""
        self._filled.clear()
        changes: list[Change] = []
        size = 0
        while self._queue and len(changes) != most and (most_bytes is None or size < most_bytes):
            event, self._seen = self._queue.popleft()
            size += len(event[3] or b"")
            changes.append(self._hub.change(event, self._seen))
        if self._queue or self._error is not None:
            self._filled.set()
        if not changes and not self._queue and self._error is not None:
            raise self._error
        return changes

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether there is something to take, or the watch has ended, within that time."""
        return self._filled.wait(timeout_s)

    def __iter__(self) -> Iterator[Change]:
        while not self._closed:
            self.wait()
            yield from self.take()

    def close(self) -> None:
        """Ends the watch; an iteration that waits ends too. Idempotent, from any thread."""
        self._closed = True
        self._hub.forget(self)
        self._filled.set()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the hub's side, under its lock

    def begin(self, after: int, missed: Iterable[Event]) -> None:
        """The watcher has seen everything up to `after`; `missed` came since."""
        self._epoch = self._hub.epoch
        self._after = self._seen = after
        wanted = (event for event in missed if self.wants(event))
        for _, events in groupby(wanted, itemgetter(0)):
            self.push(list(events))
        self._most += len(self._queue)

    def wants(self, event: Event) -> bool:
        """Whether an event is under the watch's prefix, and the watcher may see it."""
        table, prefix = self.place
        under = table in ("", event[1]) and event[2].startswith(prefix)
        return under and (self.is_operators or self._hub.may_see(event, self._actor))

    def push(self, events: list[Event]) -> None:
        """All that the watch wants of one revision. Only with the last of them it is seen: whoever
        stops in between and goes on later gets the others again, and misses none."""
        revision = events[-1][0]
        if revision <= self._after:
            return
        self._queue.extend((event, revision - 1) for event in events[:-1])
        self._queue.append((events[-1], revision))
        self._wake()

    @property
    def is_operators(self) -> bool:
        """Whether no rule decides what comes."""
        return self._actor.operator

    def has_room(self, count: int) -> bool:
        """Whether so many changes more may wait."""
        return len(self._queue) + count <= self._most

    def end(self, error: HeroctlError) -> None:
        """Nothing more comes, for this reason."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if not self._filled.is_set():
            self._filled.set()
            if self._notify is not None:
                self._notify()


def parse_cursor(text: str) -> tuple[int, int]:
    """(epoch, revision) of a cursor; CommandRejected invalid for any other text."""
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts):
        raise invalid(f"cursor {str(text)[:40]!r} is not EPOCH.REVISION")
    return int(parts[0]), int(parts[1])
