"""ReadIndex (Raft thesis 6.4): linearizable reads without a log entry.

The leader remembers its commit index, lets a majority of voters confirm – with answers to messages
that were sent afterwards – that it still leads, and only then says which index the reader's machine
must have applied. All reads that wait share one round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Final

from ..clock import Clock
from ..errors import HeroctlError, NoLeader

DEADLINE_S: Final = 5.0


@dataclass(slots=True)
class _Round:
    """Reads of one turn on the leader: confirmed by answers to sequence numbers above `seq`."""

    index: int
    seq: int
    local: list[Future[int]]
    remote: list[tuple[str, int]]  # (member, its read number)


@dataclass(slots=True)
class _Applying:
    index: int
    futures: list[Future[int]]


@dataclass(slots=True)
class Reads:
    """Reads that wait. `submit` may be called by any thread, the rest by the engine's only."""

    clock: Clock
    wake: Callable[[], None]
    number: int  # of the last question; must start elsewhere after each boot, or a late answer to
    # a question of the life before would count as one to ours
    _inbox: deque[tuple[float, Future[int]]] = field(default_factory=deque)
    _waiting: list[Future[int]] = field(default_factory=list)
    _remote: list[tuple[str, int]] = field(default_factory=list)
    _rounds: deque[_Round] = field(default_factory=deque)
    _asked: dict[int, list[Future[int]]] = field(default_factory=dict)  # at the leader, by number
    _applying: list[_Applying] = field(default_factory=list)
    _deadlines: deque[tuple[float, Future[int]]] = field(default_factory=deque)
    _ended: Callable[[], HeroctlError] | None = None

    def submit(self) -> Future[int]:
        """A future of the applied index that a linearizable read needs here."""
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()
        self._inbox.append((self.clock.monotonic_s() + DEADLINE_S, future))
        if self._ended is not None:  # looked at after the append: `end` cannot have missed it
            _fail(future, self._ended())
        self.wake()
        return future

    @property
    def anything_waiting(self) -> bool:
        return bool(self._inbox or self._waiting or self._rounds or self._asked or self._applying)

    def drain(self) -> None:
        while self._inbox:
            read = self._inbox.popleft()
            self._waiting.append(read[1])
            self._deadlines.append(read)

    # -- on the leader

    def asked_by(self, member_id: str, number: int) -> None:
        """A follower wants to know the index for its reads."""
        self._remote.append((member_id, number))

    def register(self, commit_index: int, seq: int) -> bool:
        """Opens a round for all that wait; True when there is one to confirm."""
        if not self._waiting and not self._remote:
            return False
        local = [future for future in self._waiting if not future.done()]
        self._rounds.append(_Round(commit_index, seq, local, self._remote))
        self._waiting, self._remote = [], []
        return True

    @property
    def awaits_quorum(self) -> bool:
        """Whether a round is open."""
        return bool(self._rounds)

    def confirm(self, quorum_seq: int, answer: Callable[[str, int, int], None]) -> None:
        """A majority answered messages up to `quorum_seq`; `answer(member, number, index)` tells
        the followers that asked."""
        while self._rounds and self._rounds[0].seq < quorum_seq:
            confirmed = self._rounds.popleft()
            if confirmed.local:
                self._applying.append(_Applying(confirmed.index, confirmed.local))
            for member_id, number in confirmed.remote:
                answer(member_id, number, confirmed.index)

    # -- on a follower

    def ask(self) -> int | None:
        """The number under which all waiting reads are asked at the leader, or None."""
        if not self._waiting:
            return None
        self.number += 1
        self._asked[self.number] = self._waiting
        self._waiting = []
        return self.number

    def told(self, number: int, index: int) -> None:
        """The leader's answer to `ask`."""
        if futures := self._asked.pop(number, None):
            self._applying.append(_Applying(index, futures))

    # -- everywhere

    def applied(self, index: int) -> None:
        """The machine here shows everything up to `index`."""
        if not self._applying:
            return
        for ready in [a for a in self._applying if a.index <= index]:
            for future in ready.futures:
                if not future.done():
                    future.set_result(index)
        self._applying = [a for a in self._applying if a.index > index]

    def lost_leader(self) -> None:
        """What was asked or registered goes back to the queue: reads have no effect. They keep
        their deadlines."""
        again = [f for r in self._rounds for f in r.local]
        again += [f for futures in self._asked.values() for f in futures]
        self._rounds.clear()
        self._asked.clear()
        self._remote.clear()
        self._waiting += [f for f in again if not f.done()]

    def end(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every read, also one whose index is known, and every later one at once: nothing
        will be applied here any more."""
        self._ended = error
        self.fail(error)
        for waiting in self._applying:
            for future in waiting.futures:
                _fail(future, error())
        self._applying.clear()

    def fail(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every read that waits for a leader."""
        self.drain()
        self.lost_leader()
        for future in self._waiting:
            _fail(future, error())
        self._waiting.clear()

    def expire(self) -> None:
        """Ends what waited too long."""
        now = self.clock.monotonic_s()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1].done()):
            _, future = self._deadlines.popleft()
            _fail(future, NoLeader(f"no leader confirmed within {DEADLINE_S:g} s"))
        # A leader that never answered would keep them for ever.
        done = [n for n, futures in self._asked.items() if all(f.done() for f in futures)]
        for number in done:
            del self._asked[number]


def _fail(future: Future[int], error: HeroctlError) -> None:
    """Ends a read that has not ended; two threads may do so at once when the node stops."""
    try:
        future.set_exception(error)
    except InvalidStateError:
        pass  # it has ended already
