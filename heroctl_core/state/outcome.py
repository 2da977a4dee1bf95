"""What applying one command gave: a value, the same on every node, never an exception."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where and when a command stands in the log.

    `index` is Raft's log index of the entry, `time_ms` the leader's time of that entry in
    milliseconds since 1970; the machine never lets it go back.
    """

    index: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The command had its effect. `revision` is the state's revision right after it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command had no effect. `reason` is one of errors.REJECT_REASONS, `revision` the
    state's revision that made the machine say no."""

    reason: str
    message: str
    revision: int


Outcome = Applied | Rejected
