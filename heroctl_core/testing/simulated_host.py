"""A machine of a simulated cluster: what survives its crashes, and its clocks.

No two machines agree on what time it is, nor on how fast it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..raft.membership import Candidate, Configuration
from ..raft.node import RaftNode
from .simulated_disk import DumpDisk, Storage

if TYPE_CHECKING:
    from .simulator import World

TURN_S: Final = 0.01  # one step of the world
START_MS: Final = 1_700_000_000_000
LOOK_S: Final = 0.0003  # each look at the clock takes this long: long work shows


@dataclass(slots=True, eq=False)
class VirtualClock:
    """Both clocks of one machine. Fields count the world's seconds, methods tell the machine's."""

    world: World = field(repr=False)
    skew_ms: int = 0  # of the clock that people read
    busy_until_s: float = 0.0
    lag_s: float = 0.0  # what this turn took so far
    rate: float = 1.0  # seconds of this machine in one of the world's
    _since_s: float = 0.0  # when it got this rate
    _gone_s: float = 0.0  # how far it had gone then
    origin_s: float = 0.0  # what the steady clock showed at first

    def change_rate(self, rate: float) -> None:
        """Goes faster or slower from now on; never back."""
        self._gone_s, self._since_s = self._elapsed_s(), self.now_s
        self.rate = rate

    def monotonic_s(self) -> float:
        # What `_elapsed_s` gives, without its calls: nothing else is asked so often.
        self.lag_s = lag_s = self.lag_s + LOOK_S
        now_s, until_s = self.world.now_s, self.busy_until_s
        since_s = (now_s if now_s > until_s else until_s) + lag_s - self._since_s
        return self.origin_s + self._gone_s + since_s * self.rate

    def _elapsed_s(self) -> float:
        return self._gone_s + (self.now_s - self._since_s) * self.rate

    @property
    def now_s(self) -> float:
        """The world's time, plus what this turn took so far."""
        now_s, until_s = self.world.now_s, self.busy_until_s
        return (now_s if now_s > until_s else until_s) + self.lag_s

    def time_ms(self) -> int:
        return START_MS + int(self._elapsed_s() * 1000) + self.skew_ms

    @property
    def busy(self) -> bool:
        """Whether the last turn still goes on; less than a step of the world does not count, or a
        node that gets a frame in each step would never come to its turn."""
        return self.busy_until_s > self.world.now_s + TURN_S

    def end_turn(self) -> None:
        """What the turn took keeps the node from doing anything else meanwhile."""
        self.busy_until_s, self.lag_s = self.now_s, 0.0


@dataclass(slots=True, eq=False)
class Host:
    """A machine: its disk survives crashes, its node does not."""

    member_id: str
    names: Candidate  # what it says of itself
    clock: VirtualClock
    initial: Configuration
    storage: Storage
    dumps: DumpDisk = field(default_factory=DumpDisk)
    node: RaftNode | None = None
    wakes_s: float = 0.0
    boots: int = 0
    slow_s: float = 0.0  # how long a sync may take
    _configuration: Configuration | None = None

    @property
    def configuration(self) -> Configuration:
        """The newest one that its node knows, or knew before it went down."""
        if self.node is not None:
            self._configuration = self.node.configuration
        return self._configuration or self.initial

    def wake(self) -> None:
        """The node has its turn in this step."""
        self.wakes_s = 0.0
