"""State machines that tell what each command did, and the memory of it over all nodes and lives.

A request has its effect at one index of the log and never again, and whoever applies an entry gets
what everybody else got.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from .. import codec
from ..state.commands import open_envelope, request_id_of
from ..state.machine import DumpState, StateMachine
from ..state.outcome import Applied, Outcome, Stamp
from .linearizability import State

M = TypeVar("M", bound=StateMachine)


class Result(NamedTuple):
    """What a command at its place in the log gave, and what the jobs were after it."""

    outcome: Outcome
    revision: int
    fingerprint: int


class Effect(NamedTuple):
    """The one time that a request changed something."""

    at: int  # index of the log
    revision: int


@dataclass(slots=True)
class Applications:
    """Everything ever applied. `fault` says what was wrong with it, if anything was."""

    fault: str | None = None
    effects: dict[bytes, Effect] = field(default_factory=dict)  # by request id
    acknowledged: list[int] = field(default_factory=list)  # revisions that clients were told
    _results: dict[tuple[int, int], Result] = field(default_factory=dict)
    _values: dict[str, tuple[list[int], list[State]]] = field(default_factory=dict)

    def applied(
        self,
        machine: StateMachine,
        place: tuple[int, int],
        command: bytes,
        outcome: Outcome,
        before: int,
    ) -> None:
        """`machine`, at revision `before`, applied the command at `place`: index of the entry,
        number in it."""
        now = Result(outcome, machine.revision, machine.fingerprint("jobs"))
        known = self._results.setdefault(place, now)
        if known != now:
            self.fault = f"command {place[1]} at index {place[0]} gave {now}, elsewhere {known}"
        elif known is now and now.revision > before:
            self._changed(machine, Effect(place[0], now.revision), command)

    def _changed(self, machine: StateMachine, effect: Effect, command: bytes) -> None:
        request_id = request_id_of(command)
        known = self.effects.setdefault(request_id, effect)
        if known != effect:
            self.fault = f"request {request_id.hex()[:8]} took effect twice: {known} and {effect}"
        key = open_envelope(command)[-1][0]
        revisions, values = self._values.setdefault(key, ([], []))
        revisions.append(effect.revision)
        values.append(value_of(machine, key))

    def value_at(self, key: str, revision: int) -> State:
        """What the key held at a revision."""
        revisions, values = self._values.get(key, ([], []))
        at = bisect_right(revisions, revision)
        return values[at - 1] if at else None

    def acknowledge(self, request_id: bytes, outcome: Applied) -> str | None:
        """A client was told this; what is wrong with it, or None."""
        effect = self.effects.get(request_id)
        self.acknowledged.append(outcome.revision)
        if effect is None:
            return f"request {request_id.hex()[:8]} was acknowledged and had no effect"
        if effect.revision != outcome.revision:
            return f"revision {outcome.revision} was acknowledged, it was {effect.revision}"
        return None


class WatchedMachine(StateMachine):
    """A real state machine; tells `watched` what it did."""

    watched: Applications | None = None
    _place = (0, 0)

    def apply(self, command: bytes, stamp: Stamp) -> Outcome:
        before, (index, number) = self.revision, self._place
        self._place = (stamp.index, number + 1 if stamp.index == index else 0)
        outcome = super().apply(command, stamp)
        if self.watched is not None:
            self.watched.applied(self, self._place, command, outcome, before)
        return outcome


def loaded(machine: M, state: DumpState) -> M:
    """`machine` with the content of a dump."""
    view = state.view
    machine.load_dump(
        view.rows(),
        state.request_bytes(),
        revision=view.revision,
        epoch=view.epoch,
        time_ms=view.time_ms,
    )
    return machine


def value_of(machine: StateMachine, key: str) -> State:
    """What a job of the simulation holds in a machine: the number of the call that wrote it."""
    row = machine.get("jobs", key)
    return None if row is None else int(codec.unpack(codec.unpack(row)["spec"]))
