"""When to ask for votes, and the pre-vote that asks first (Raft thesis 9.6). Values in, values out.

A pre-vote changes nothing on either side. It keeps a node that was cut off from deposing a leader
that everybody else hears, and it needs refusals that carry the term: otherwise a node whose term
rose in a lost election would be stuck for ever.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from ..clock import Clock
from .membership import Configuration


@dataclass(slots=True)
class Elections:
    """The election deadline of one node and its running pre-vote. Seconds are monotonic."""

    clock: Clock
    rng: random.Random
    timeout_s: float
    deadline_s: float = math.inf
    contact_s: float = -math.inf  # last valid message of a leader
    leader_gone: bool = False  # it closed its connection
    called_term: int | None = None  # the leader of this term told this node to take over
    _nonce: int = 0
    _asked_term: int = 0
    _granted: set[str] = field(default_factory=set)

    def start(self, *, alone: bool) -> None:
        """After the start-up questions: a lone voter campaigns at once."""
        share = 0.0 if alone else self.rng.uniform(0.1, 1.0)
        self.deadline_s = self.clock.monotonic_s() + share * self.timeout_s

    def heard_leader(self) -> None:
        """A valid AppendEntries came."""
        self.contact_s = self.clock.monotonic_s()
        self.leader_gone = False
        self._push_deadline()
        self._granted.clear()

    def lost_leader(self) -> None:
        """The leader's connection closed: no need to wait a whole timeout."""
        self.leader_gone = True
        soon = self.clock.monotonic_s() + self.rng.uniform(0.02, 0.3) * self.timeout_s
        self.deadline_s = min(self.deadline_s, soon)

    def postpone(self) -> None:
        """Somebody else got our vote, or we just stopped leading."""
        self._push_deadline()

    def hears_leader(self) -> bool:
        """Whether a leader that is still there was heard within one election timeout."""
        return not self.leader_gone and self.silent_s() < self.timeout_s

    def silent_s(self) -> float:
        """Seconds since the last message of a leader."""
        return self.clock.monotonic_s() - self.contact_s

    def due(self) -> bool:
        return self.clock.monotonic_s() >= self.deadline_s

    def ask(self, member_id: str, term: int) -> tuple[int, int]:
        """Opens a pre-vote for the term after `term`: (proposed term, nonce)."""
        self._push_deadline()
        self._nonce += 1
        self._asked_term = term + 1
        self._granted = {member_id}
        return self._asked_term, self._nonce

    def won(self, configuration: Configuration, member_id: str, term: int, nonce: int) -> bool:
        """Counts one grant; True when a majority of voters would vote for us in this term."""
        if nonce != self._nonce or term + 1 != self._asked_term or not self._granted:
            return False
        self._granted.add(member_id)
        if not configuration.is_quorum(self._granted):
            return False
        self._granted = set()
        return True

    def _push_deadline(self) -> None:
        share = self.rng.uniform(1.0, 2.0)
        self.deadline_s = self.clock.monotonic_s() + share * self.timeout_s


def up_to_date(theirs: tuple[int, int], ours: tuple[int, int]) -> bool:
    """Whether a log that ends at (term, index) `theirs` may lead one at `ours` (paper 5.4.1)."""
    return theirs >= ours
