"""All watches of one node: every change of a row, as it is applied here, to those who want it.

One thread takes new events from the machine's history and puts them into the queues of the watches
that want them. A watcher that does not keep up is cut off, nobody else notices.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from .. import limits
from ..codec import unpack
from ..errors import (
    CommandRejected,
    Compacted,
    EpochChanged,
    HeroctlError,
    NodeFault,
    Overloaded,
    RightsChanged,
    SlowConsumer,
)
from ..raft.port import Replicator
from ..state.events import Event, History
from .access import OPERATOR, Actor
from .reads import may_list, may_list_any
from .resource import Resource
from .values import invalid
from .watch import Change, Watch, parse_cursor

_AT_ONCE: Final = 1000  # events taken from the history in one go

log = logging.getLogger("heroctl.watch")


class Watches:
    """All watches of one node. Any thread."""

    def __init__(self, replicator: Replicator, resources: Iterable[Resource[Any]]) -> None:
        self._replicator = replicator
        self._resources = tuple(resources)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._history = replicator.machine.history
        self.epoch = replicator.machine.epoch
        self.position = replicator.machine.revision  # everything up to there is in the queues
        self._watches: dict[tuple[str, str], set[Watch]] = {}
        self._lengths: dict[str, list[int]] = {}  # of the prefixes that somebody watches, by table
        self._count = 0
        self._thread: threading.Thread | None = None
        self._ended = False

    def open(
        self,
        prefix: str = "",
        *,
        since: str | None = None,
        actor: Actor = OPERATOR,
        notify: Callable[[], None] | None = None,
    ) -> Watch:
        """The changes under `prefix`: "" for all, "jobs/" for a kind, "jobs/web" for names that
        begin so. `since`: the cursor from which to go on; None: from now on. `notify` is called, on
        another thread, when something comes after a time with nothing to take.

        Raises Compacted or EpochChanged when what came since the cursor is not known any more, and
        CommandRejected denied for an actor who may see nothing of it.
        """
        watch = Watch(self, self._place(prefix, actor), actor, notify)
        asked = None if since is None else parse_cursor(since)
        with self._lock:
            if self._ended:
                raise NodeFault("this node is closed")
            if self._count >= limits.WATCHERS:
                raise Overloaded(f"{limits.WATCHERS} watchers are here already")
            self._start()
            self._advance()
            after = self.position if asked is None else self._checked(*asked)
            missed = self._history.after(after, 2 * limits.WATCH_EVENTS)
            missed = [event for event in missed if event[0] <= self.position]
            if after < self._history.floor:
                raise self._compacted(after)
            watch.begin(after, missed)
            self._watches.setdefault(watch.place, set()).add(watch)
            self._count += 1
            self._measure()
        return watch

    def forget(self, watch: Watch) -> None:
        """The watcher does not want any more."""
        with self._lock:
            self._drop(watch)

    def close(self) -> None:
        """Ends every watch and the thread. Idempotent."""
        with self._lock:
            self._ended = True
            self._end_all(NodeFault("this node is closed", hint="watch another node"))
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def change(self, event: Event, seen: int) -> Change:
        """The event as a watcher gets it, who has then seen everything up to revision `seen`."""
        revision, table, key, row = event
        resource = self._resource_of(table, key)
        name = resource.name_of(key, row) or key.removeprefix(resource.prefix)
        value = None if row is None else resource.of_row(name, unpack(row))
        action = "delete" if row is None else "put"
        return Change(f"{self.epoch}.{seen}", revision, action, resource.noun, name, value)

    def may_see(self, event: Event, actor: Actor) -> bool:
        """Whether the actor may see the row; one that has no name any more, if it may see all."""
        _, table, key, row = event
        resource = self._resource_of(table, key)
        name = resource.name_of(key, row)
        if name is None:
            return actor.may_see_all(resource.right)
        return actor.may_see(resource.right, name)

    def _resource_of(self, table: str, key: str) -> Resource[Any]:
        return next(r for r in self._resources if r.table == table and key.startswith(r.prefix))

    # -- one thread, or whoever holds the lock

    def _run(self) -> None:
        try:
            while not self._ended:
                self._changed.wait()
                self._changed.clear()
                with self._lock:
                    self._advance()
        except Exception as error:  # or every watcher would wait for ever
            log.exception("watching ended")
            with self._lock:
                self._ended = True
                self._end_all(NodeFault(f"watching ended: {error!r}"))

    def _start(self) -> None:
        if self._thread is None:
            self._replicator.on_change(self._changed.set)
            self._thread = threading.Thread(target=self._run, name="heroctl-watch", daemon=True)
            self._thread.start()

    def _advance(self) -> None:
        """Gives every new event to whoever wants it."""
        machine = self._replicator.machine
        if machine.history is not self._history:
            self._switch(machine.history, machine.epoch)
        while events := self._history.after(self.position, _AT_ONCE):
            if self.position < self._history.floor:
                self._end_all(self._compacted(self.position))
            for _, of_one in groupby(events, itemgetter(0)):
                self._give(list(of_one))
            self.position = events[-1][0]

    def _switch(self, history: History, epoch: int) -> None:
        """The machine's content was replaced: by a restore, or by a snapshot from the leader."""
        if epoch != self.epoch:
            self._end_all(_epoch_changed(self.epoch, epoch))
        else:
            self._end_all(self._compacted(self.position))
        self._history, self.epoch, self.position = history, epoch, history.floor

    def _give(self, events: list[Event]) -> None:
        """All events of one revision."""
        if any(event[1] == "acl" for event in events):
            changed = RightsChanged("policies or tokens were written")
            self._end_all(changed, lambda watch: not watch.is_operators)
        wanted: dict[Watch, list[Event]] = {}
        for event in events:
            for watch in self._watching(event):
                wanted.setdefault(watch, []).append(event)
        for watch, theirs in wanted.items():
            if watch.has_room(len(theirs)):
                watch.push(theirs)
            else:
                self._cut(watch)

    def _watching(self, event: Event) -> Iterator[Watch]:
        _, table, key, _ = event
        for place_table in (table, ""):
            for length in self._lengths.get(place_table, ()):
                yield from filter(
                    lambda watch: watch.wants(event),
                    self._watches.get((place_table, key[:length]), ()),
                )

    def _cut(self, watch: Watch) -> None:
        self._drop(watch)
        watch.end(SlowConsumer(f"{limits.WATCH_QUEUE} changes wait to be taken"))
        log.warning("a watcher of %s was cut off: it does not take its changes", watch.place)

    def _end_all(
        self, error: HeroctlError, chosen: Callable[[Watch], bool] = lambda _: True
    ) -> None:
        for watches in list(self._watches.values()):
            for watch in filter(chosen, list(watches)):
                self._drop(watch)
                watch.end(error)

    def _drop(self, watch: Watch) -> None:
        watches = self._watches.get(watch.place, set())
        if watch in watches:
            watches.remove(watch)
            self._count -= 1
            if not watches:
                del self._watches[watch.place]
                self._measure()

    def _measure(self) -> None:
        lengths: dict[str, set[int]] = {}
        for table, prefix in self._watches:
            lengths.setdefault(table, set()).add(len(prefix))
        self._lengths = {table: sorted(found) for table, found in lengths.items()}

    def _checked(self, epoch: int, revision: int) -> int:
        """The revision of a cursor; one that this node has not reached yet is waited for."""
        if epoch != self.epoch:
            raise _epoch_changed(epoch, self.epoch)
        return revision

    def _compacted(self, revision: int) -> Compacted:
        return Compacted(
            f"the changes after revision {revision} are not known here any more: the oldest is "
            f"{self._replicator.machine.history.floor + 1}"
        )

    def _place(self, prefix: str, actor: Actor) -> tuple[str, str]:
        """(table, prefix of its keys) of what is asked for."""
        if prefix == "":
            if not any(may_list_any(actor, resource.right) for resource in self._resources):
                raise CommandRejected("denied", f"{actor.name} may list nothing")
            return "", ""
        collection, slash, rest = prefix.partition("/")
        for resource in self._resources:
            if slash and resource.collection == collection:
                may_list(actor, resource.right)
                if rest and not resource.keyed_by_name:
                    raise invalid(f'watch {prefix[:40]!r}: allowed: all of "{collection}/"')
                return resource.table, resource.prefix + rest
        allowed = ", ".join(f'"{r.collection}/"' for r in self._resources)
        raise invalid(f'watch {prefix[:40]!r}: allowed: "", {allowed}, with the begin of a name')


def _epoch_changed(old: int, new: int) -> EpochChanged:
    return EpochChanged(f"the state was restored: the cursor is of epoch {old}, this is {new}")
