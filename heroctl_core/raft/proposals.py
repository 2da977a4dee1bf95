"""Waiting writes: from any thread into one queue, each with a reply that always ends.

A reply is found again by its request id when the command is applied here, whoever led when it was
appended: so a follower's write is visible on that follower when its caller is told, and an answer
can never belong to somebody else's entry (row 10 of docs/engine.md).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import Final

from .. import limits
from ..clock import Clock
from ..errors import HeroctlError, NoLeader, OutcomeUnknown, Overloaded
from ..state.outcome import Outcome
from .reply import Answerable, AnyReply

DEADLINE_S: Final = 5.0
ENTRY_OVERHEAD: Final = 64  # bytes of an entry around its commands
ENTRY_COMMANDS: Final = 512  # one entry is applied in one go: bound it in time, not only in bytes


class Waiting:
    """One write that waits; `sent` once it may be in some log, `queued` while it is to be sent,
    `ended` when its outcome is known, though its caller may not be told yet."""

    __slots__ = ("command", "deadline_s", "ended", "queued", "reply", "request_id", "sent")

    def __init__(
        self, command: bytes, request_id: bytes, deadline_s: float, reply: Answerable
    ) -> None:
        self.command = command
        self.request_id = request_id
        self.deadline_s = deadline_s
        self.reply = reply
        self.sent = False
        self.ended = False
        self.queued = True


class Proposals:
    """The queue. `submit` may be called by any thread, the rest by the engine's only."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._inbox: deque[Waiting] = deque()
        self._queue: deque[Waiting] = deque()
        self._forward_s = -math.inf  # not before this time
        self._queued_bytes = 0  # of both
        self._forwarded_here: deque[bytes] = deque()  # from followers, whose callers are not here
        self.took_forwarded = False  # the last `take` had a follower's command in it
        self._wake_at = 1  # so many in the inbox are worth a turn
        self._untold: list[tuple[Answerable, Outcome]] = []  # applied, not told yet
        self._by_id: dict[bytes, list[Waiting]] = {}
        self._ended: Callable[[], HeroctlError] | None = None

    def submit(self, command: bytes, request_id: bytes, reply: AnyReply) -> AnyReply:
        """One write, whose outcome goes to `reply`; Overloaded when too many wait already."""
        if len(self._inbox) >= limits.PROPOSAL_QUEUE:
            raise Overloaded(f"{limits.PROPOSAL_QUEUE} writes are waiting already")
        waiting = Waiting(command, request_id, self._clock.monotonic_s() + DEADLINE_S, reply)
        self._inbox.append(waiting)
        if self._ended is not None:  # looked at after the append: `end` cannot have missed it
            _fail(waiting, self._ended())
        if len(self._inbox) >= self._wake_at:
            self._wake()
        return reply

    def accept_forwarded(self, commands: list[bytes]) -> int:
        """How many of a follower's commands found room."""
        room = max(0, limits.PROPOSAL_QUEUE - len(self._forwarded_here))
        taken = commands[:room]
        self._forwarded_here.extend(taken)
        self._queued_bytes += sum(map(len, taken))
        return len(taken)

    def drain(self) -> None:
        """Takes in what other threads submitted."""
        self._wake_at = 1
        inbox = self._inbox
        while inbox:
            waiting = inbox.popleft()
            self._queue.append(waiting)
            self._queued_bytes += len(waiting.command)
            self._by_id.setdefault(waiting.request_id, []).append(waiting)

    @property
    def unsent(self) -> int:
        """How many writes no entry and no frame has taken yet."""
        return len(self._queue) + len(self._forwarded_here) + len(self._inbox)

    def fill_entry(self) -> bool:
        """Whether an entry has no room for more than what is unsent."""
        return self._queued_bytes >= limits.ENTRY_BYTES - ENTRY_OVERHEAD

    def let_gather(self, enough: int) -> bool:
        """No submission wakes the engine until so many writes are unsent, or until the next
        `drain`; False when they are there already."""
        self._wake_at = max(1, enough - len(self._queue) - len(self._forwarded_here))
        return len(self._inbox) < self._wake_at  # looked at last: `submit` cannot have missed it

    @property
    def anything_waiting(self) -> bool:
        return bool(self._by_id or self._inbox)

    def take(self, max_bytes: int) -> list[bytes]:
        """The next commands for one entry (or one frame to the leader); they count as sent."""
        taken: list[bytes] = []
        self.took_forwarded = bool(self._forwarded_here)
        for queue in (self._queue, self._forwarded_here):
            while queue and len(taken) < ENTRY_COMMANDS:
                head = queue[0]
                command = head.command if isinstance(head, Waiting) else head
                max_bytes -= len(command) + 8
                if max_bytes < 0 and taken:
                    return taken
                self._queued_bytes -= len(command)
                if isinstance(head, Waiting):
                    head.queued = False
                    if head.ended:  # its deadline passed, or it was applied after all
                        queue.popleft()
                        continue
                    head.sent = True
                queue.popleft()
                taken.append(command)
        return taken

    def take_to_forward(self, max_bytes: int) -> list[bytes]:
        """As `take`, but nothing while the leader that was asked last has no room."""
        return self.take(max_bytes) if self._clock.monotonic_s() >= self._forward_s else []

    def resolve(self, request_id: bytes, outcome: Outcome) -> None:
        """The command was applied here; `tell` tells who waits for it."""
        for waiting in self._by_id.pop(request_id, ()):
            waiting.ended = True
            self._untold.append((waiting.reply, outcome))

    @property
    def untold(self) -> int:
        """How many outcomes the next `tell` tells."""
        return len(self._untold)

    def tell(self) -> None:
        """Tells the outcomes of what was applied. Callers that wake up want the interpreter, so
        this comes when the engine is about to wait, not before it has sent the next entry."""
        for reply, outcome in self._untold:
            try:
                reply.set_result(outcome)
            except InvalidStateError:
                pass  # the node stopped meanwhile
        self._untold.clear()

    def resend(self, *, after_s: float = 0.0) -> None:
        """What was sent and not applied goes to the next leader too, in the order of its arrival:
        the state knows request ids, so of two copies one is applied. A follower sends it after a
        moment, when it was the leader that wanted it so."""
        self._drop_forwarded()  # who forwarded it does the same
        self._forward_s = self._clock.monotonic_s() + after_s if after_s else -math.inf
        again = [w for group in self._by_id.values() for w in group if not w.queued]
        for waiting in again:
            waiting.queued = True
        self._queue.extendleft(reversed(again))
        self._queued_bytes += sum(len(waiting.command) for waiting in again)

    def _drop_forwarded(self) -> None:
        self._queued_bytes -= sum(map(len, self._forwarded_here))
        self._forwarded_here.clear()

    def fail_sent(self, why: str) -> None:
        """Nobody can be asked what became of these."""
        self._drop_forwarded()
        for group in list(self._by_id.values()):
            for waiting in list(group):
                if waiting.sent:
                    self._end(waiting, OutcomeUnknown(why))

    def fail_unsent(self, error: Callable[[], HeroctlError]) -> None:
        """Nobody can be asked to do these; what was sent before may be in some log."""
        self.drain()
        while self._queue:
            waiting = self._queue.popleft()
            waiting.queued = False
            self._queued_bytes -= len(waiting.command)
            if waiting.ended:
                continue
            self._end(waiting, OutcomeUnknown(error().message) if waiting.sent else error())

    def expire(self) -> None:
        """Ends what waited too long."""
        now = self._clock.monotonic_s()
        late = [w for group in self._by_id.values() for w in group if w.deadline_s <= now]
        for waiting in late:
            self._end(
                waiting,
                OutcomeUnknown(f"no answer from the cluster within {DEADLINE_S:g} s")
                if waiting.sent
                else NoLeader(f"no leader within {DEADLINE_S:g} s"),
            )

    def _end(self, waiting: Waiting, error: HeroctlError) -> None:
        group = self._by_id.get(waiting.request_id, [])
        if waiting in group:
            group.remove(waiting)
            if not group:
                del self._by_id[waiting.request_id]
        _fail(waiting, error)

    def end(self, error: Callable[[], HeroctlError]) -> None:
        """Ends every write, and every later one at once: the node stopped."""
        self._ended = error
        self.tell()
        self.fail_sent("the node stopped")
        self.fail_unsent(error)


def _fail(waiting: Waiting, error: HeroctlError) -> None:
    """Ends a write that has not ended; two threads may do so at once when the node stops."""
    waiting.ended = True
    try:
        waiting.reply.set_exception(error)
    except InvalidStateError:
        pass  # it has ended already
