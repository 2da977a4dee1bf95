"""Whether what clients saw of one key can be explained by one order of their operations.

The search of Wing and Gong with the memory of Lowe ("Testing for linearizability", 2016): take any
operation that nothing else ended before, see whether its result fits, go on; a set of operations
already taken with the same state is looked at once. Every written value must be another one. Knows
nothing of nodes or time: `started` and `ended` only have to be ordered as the client saw them.
Writes that were told their revision must in addition fit in the order of the revisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

State = int | None  # what the key holds
_UNREAD: Final = -1  # stands for every value that nobody read


class Kind(Enum):
    """What a client asked for."""

    READ = "read"
    PUT = "put"  # write, whatever is there
    CREATE = "create"  # write only when nothing is there
    DELETE = "delete"  # refused when nothing is there


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client. `accepted` is None when the client never learned the outcome; such a
    call may have taken effect at any time after its start, or never, and `ended` is infinite."""

    kind: Kind
    value: State  # what was read or written
    started: float
    ended: float
    accepted: bool | None = True
    revision: int | None = None  # of a write that was applied


def is_linearizable(operations: Iterable[Operation]) -> bool:
    """Whether the operations on one key, which holds nothing at first, are linearizable."""
    calls = _simplified(sorted(operations, key=lambda call: call.started))
    certain = sum(1 << at for at, call in enumerate(calls) if call.ended < math.inf)
    written = [at for at, call in enumerate(calls) if call.revision is not None]
    written.sort(key=lambda at: calls[at].revision or 0)
    tried: set[tuple[int, State]] = set()
    ways: list[tuple[int, State]] = [(0, None)]
    while ways:
        taken, state = ways.pop()
        if taken & certain == certain:
            return True
        first_written = next((at for at in written if not taken >> at & 1), None)
        for way in _ways(calls, taken, state, first_written):
            if way not in tried:
                tried.add(way)
                ways.append(way)
    return False


def _simplified(calls: Sequence[Operation]) -> list[Operation]:
    """The same calls: what was read took effect before the read ended, and a value that nobody
    read is as good as any other such value."""
    read: dict[State, float] = {}
    for call in calls:
        if call.kind is Kind.READ:
            read[call.value] = min(call.ended, read.get(call.value, math.inf))
    return [_simple(call, read) for call in calls]


def _simple(call: Operation, read: dict[State, float]) -> Operation:
    if call.kind not in (Kind.PUT, Kind.CREATE):
        return call
    if call.value not in read:
        return replace(call, value=_UNREAD)
    if call.accepted is None:
        return replace(call, accepted=True, ended=max(read[call.value], call.started))
    return call


def _ways(
    calls: Sequence[Operation], taken: int, state: State, first_written: int | None
) -> list[tuple[int, State]]:
    """Where one more certain call can lead to; the most likely one is the last.

    A call of unknown outcome can always be left out, or come later, unless the very next certain
    call needs what it did. So it is taken only together with that one; whether the key holds
    anything is all that it can do for it, and among equal ones the first is as good as any other.
    """
    ways: list[tuple[int, State]] = []
    candidates = _next(calls, taken)
    unknown = [at for at in candidates if calls[at].accepted is None]
    for at in candidates[len(unknown) :]:
        call = calls[at]
        if call.revision is not None and at != first_written:
            continue
        fits, after = _apply(call, state)
        if fits and after == state and call.kind is not Kind.PUT:
            return [(taken | 1 << at, state)]  # changes nothing: now is as good as later
        if fits:
            ways.append((taken | 1 << at, after))
        elif (other := _opposite(calls, unknown, state)) is not None:
            fits, after = _apply(call, _UNREAD if state is None else None)
            if fits:
                ways.append((taken | 1 << at | 1 << other, after))
    return ways


def _opposite(calls: Sequence[Operation], unknown: list[int], state: State) -> int | None:
    """The first of the calls `unknown` that makes a full key empty, or an empty one full."""
    for at in unknown:
        if (calls[at].kind is Kind.DELETE) == (state is not None):
            return at
    return None


def _next(calls: Sequence[Operation], taken: int) -> list[int]:
    """The calls that may come next: each started before any other that is left had ended. Calls
    without an end come first, in the order of their starts; then those that ended last."""
    left: list[int] = []
    first_end = math.inf
    for at in range((~taken & taken + 1).bit_length() - 1, len(calls)):
        call = calls[at]
        if taken >> at & 1:
            continue
        if call.started > first_end:
            break
        left.append(at)
        first_end = min(first_end, call.ended)
    return sorted(left, key=lambda at: -calls[at].ended)


def _apply(call: Operation, state: State) -> tuple[bool, State]:
    """Whether the call's result fits a key that holds `state`, and what it holds afterwards."""
    match call.kind:
        case Kind.READ:
            return call.value == state, state
        case Kind.PUT:
            return True, call.value
        case Kind.CREATE:
            done = state is None
            return call.accepted in (None, done), call.value if done else state
        case Kind.DELETE:
            done = state is not None
            return call.accepted in (None, done), None
