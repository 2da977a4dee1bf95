"""Restores, forced bootstraps and old nodes that come back, in one thread under a virtual clock.

Real data folders, the real Standing and its real decisions (raft/presence.py) on real nodes; the
network, time, logs and crashes are simulated. An operator restores where the real plan of a restore
allows it, and at the end ends what only an operator can end. `testing/generation_checks.py` says
what must hold.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..errors import HeroctlError, NodeFault
from ..raft.node import RaftNode
from ..state.commands import Envelope, PutJob, encode
from ..state.outcome import Applied
from .crash_disk import PowerCut
from .generation_checks import GenerationChecks
from .generation_operator import Operator
from .invariants import Violation
from .simulated_links import Fencing, Links
from .simulated_member import Member

STEP_S: Final = 0.05
START_MS: Final = 1_700_000_000_000
FAULTS_S: Final = 60.0
_LOOK_S: Final = 0.1
_REDIAL_S: Final = 0.25
_SETTLE_S: Final = 90.0  # within this time a healed cluster serves, or needs an operator
_NAMES: Final = ("n1", "n2", "n3")


@dataclass(slots=True)
class Generations:
    """Three machines and everything around them. `run` does the whole; `stats` counts."""

    seed: int
    folder: Path
    fencing: Fencing = field(default_factory=Fencing)
    now_s: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)
    stats: Counter[str] = field(default_factory=Counter)
    checks: GenerationChecks = field(default_factory=GenerationChecks)
    calm: bool = False
    rng: random.Random = field(init=False)
    operator: Operator = field(init=False)
    links: Links = field(init=False)
    _sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.operator = Operator(self)
        self.links = Links(self)
        for name in _NAMES:
            self.members[name] = Member(self, name, self.folder / name)

    # -- what members use

    def monotonic_s(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return START_MS + int(self.now_s * 1000)

    def new_id(self) -> str:
        """32 hex digits."""
        return f"{self.rng.getrandbits(128):032x}"

    def sent_dumps(self, restore_id: str) -> dict[str, Any]:
        """Every dump of a generation that was ever written."""
        return self._sent.setdefault(restore_id, {})

    def folder_step(self) -> None:
        """Around each durable change of a folder the process may be killed."""
        if not self.calm and self.rng.random() < 0.05:
            raise PowerCut

    def forget(self, node: RaftNode) -> None:
        """A node object ends."""
        self.checks.forget(node)

    @property
    def up(self) -> list[Member]:
        return [m for m in self.members.values() if m.standing is not None]

    # -- faults

    def boot(self, member: Member) -> None:
        """Starts a process."""
        self.stats["boots"] += 1
        member.act(member.boot)

    def _disturb(self) -> None:
        rng, chance = self.rng, self.rng.random()
        down = [m for m in self.members.values() if m.standing is None]
        if chance < 0.006 and self.up:
            self.stats["crashes"] += 1
            rng.choice(self.up).stop()
        elif chance < 0.026 and down:
            self.boot(rng.choice(down))
        elif chance < 0.030:
            self.links.split()
        elif chance < 0.042:
            self.links.heal()
        elif chance < 0.054:
            self.operator.save()
        elif chance < 0.059:
            self.operator.restore(rng.choice(list(self.members.values())))

    # -- clients

    def _call(self, member: Member) -> None:
        node, lineage = member.node, member.lineage
        if node is None:
            return
        self._numbers += 1
        name, request_id = f"job-{self._numbers}", self.rng.getrandbits(128).to_bytes(16)
        command = encode(
            Envelope(request_id, self.time_ms(), "sim", "sim", PutJob(name, b"\x01", {}, None))
        )
        try:
            future = node.propose(command, request_id)
        except HeroctlError:
            return

        def told(done: Any) -> None:
            if done.exception() is None and isinstance(done.result(), Applied):
                self.stats["acknowledged"] += 1
                self.checks.acknowledged(name, request_id, lineage)

        future.add_done_callback(told)

    # -- time

    def step(self) -> None:
        """One twentieth of a second."""
        self.now_s += STEP_S
        self.links.deliver()
        for member in self.up:
            member.act(partial(self._turn, member))
        for member in self.up:
            if member.node is not None and self.rng.random() < 0.1:
                self._call(member)
        self.checks.look(self.up)

    def _turn(self, member: Member) -> None:
        try:
            if member.node is not None:
                member.node.turn()
            if member.next_look_s <= self.now_s and member.standing is not None:
                member.next_look_s = self.now_s + _LOOK_S
                member.standing.look(self.now_s)
                self.links.dial(member)
        except (NodeFault, AssertionError, KeyError, IndexError, ValueError) as error:
            raise Violation(f"{member.name} stopped itself: {error!r}") from error

    def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Lets time pass until the condition holds; False when it never does."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            if condition():
                return True
            self.step()
        return bool(condition())

    def run(self, seconds: float = FAULTS_S) -> None:
        """Faults, then calm, then an operator where one is needed; everything must hold."""
        for member in self.members.values():
            self.boot(member)
        self.until(lambda: self.checks.converged(self.up), 15.0)
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self._disturb()
            self.step()
        self.calm = True
        self.links.heal()
        for member in self.members.values():
            if member.standing is None:
                self.boot(member)
        self.operator.bring_together(_SETTLE_S)
        self.checks.end(self.members.values())

    def digest(self) -> str:
        """One value for everything that happened."""
        history = (self.checks.writes, sorted(self.checks.confirmed), sorted(self.stats.items()))
        return hashlib.sha256(repr(history).encode()).hexdigest()

    def close(self) -> None:
        """Stops what still runs."""
        for member in self.up:
            member.stop()
