"""A whole cluster in one thread under a virtual clock: one seed, one run, the same every time.

Real nodes (raft/node.py), real state machines, the real guard; the network, the disks and the time
are simulated, with faults: messages delayed, lost, duplicated and reordered across connections,
partitions in one or both directions, crashes that lose what was not synced – between, inside and
after the steps of a turn –, restarts, membership changes, compaction and snapshot installs.
`testing/invariants.py` says what must hold after every turn.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import HeroctlError, NodeFault
from ..raft.membership import Candidate, Configuration, MemberSpec
from ..raft.node import Protections, RaftNode, Timing
from ..state.commands import Envelope, PutJob, encode
from ..state.machine import StateMachine
from ..state.outcome import Applied, Outcome
from .invariants import Invariants, Violation
from .simulated_disk import DumpDisk, PowerCut, SimulatedDumps, SimulatedLog, machine_of

TURN_S: Final = 0.01
START_MS: Final = 1_700_000_000_000


@dataclass(slots=True)
class VirtualClock:
    """The time of one node: the world's, plus what its wall clock is off."""

    world: World
    skew_ms: int = 0

    def monotonic_s(self) -> float:
        return self.world.now_s

    def time_ms(self) -> int:
        return START_MS + int(self.world.now_s * 1000) + self.skew_ms


@dataclass(slots=True)
class Host:
    """A machine: its disk survives crashes, its node does not."""

    member_id: str
    log: SimulatedLog
    clock: VirtualClock
    initial: Configuration
    dumps: DumpDisk = field(default_factory=DumpDisk)
    node: RaftNode | None = None
    wakes_s: float = 0.0
    boots: int = 0


@dataclass(slots=True)
class World:
    """The cluster and everything around it. Create one for each run; `run` does the whole."""

    seed: int
    voters: int = 3
    protections: Protections = field(default_factory=Protections)
    now_s: float = 0.0
    rng: random.Random = field(init=False)
    hosts: dict[str, Host] = field(default_factory=dict)
    invariants: Invariants = field(default_factory=Invariants)
    _queue: list[tuple[float, int, str, str, int, list[Any]]] = field(default_factory=list)
    _sent: int = 0
    _cut: set[tuple[str, str]] = field(default_factory=set)
    _links: dict[tuple[str, str], float] = field(default_factory=dict)  # FIFO: last delivery
    _pending: list[tuple[str, Future[Outcome]]] = field(default_factory=list)
    _joiners: dict[str, Candidate] = field(default_factory=dict)
    _dumps: dict[str, Any] = field(default_factory=dict)
    _writes: int = 0
    _calm: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        ids = [self._new_id() for _ in range(self.voters)]
        specs = {m: MemberSpec(f"n{i}", f"n{i}:1", voter=True) for i, m in enumerate(ids)}
        for member_id in ids:
            self._add_host(member_id, Configuration(specs))

    def _new_id(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"

    def _add_host(self, member_id: str, initial: Configuration) -> None:
        log = SimulatedLog.create()
        host = Host(member_id, log, VirtualClock(self), initial)
        self.hosts[member_id] = host
        self.boot(host)

    # -- hosts

    def boot(self, host: Host) -> None:
        """Starts a node from what its disk holds."""
        host.boots += 1
        machine, configuration = StateMachine(), host.initial
        if host.log.dump is not None:
            stored = host.dumps.stored[host.log.dump.name]
            machine, configuration = machine_of(stored.state), stored.configuration
        host.log.cut = self._cuts_power
        host.node = RaftNode(
            host.member_id,
            log=host.log,  # type: ignore[arg-type]
            dumps=SimulatedDumps(host.dumps, self.rng, self._dumps),
            machine=machine,
            configuration=configuration,
            clock=host.clock,
            rng=random.Random(self.rng.getrandbits(64)),
            timing=Timing(1.0),
            send=self._sender(host.member_id),
            flush=lambda: None,
            wake=lambda: None,
            protections=self.protections,
            kept_entries=self.rng.choice((0, 5, 50)),
        )
        host.node.start_voting()
        host.wakes_s = self.now_s
        self._connect()

    def crash(self, host: Host) -> None:
        """A power cut: the node is gone, its disk keeps what was synced."""
        assert host.node is not None
        host.node.stop(lambda: NodeFault("power cut"))
        host.node = None
        host.log = SimulatedLog.of(host.log.crash(keep_unsynced=self.rng.random() < 0.2))
        self._connect()

    def _cuts_power(self) -> bool:
        return not self._calm and self.rng.random() < 0.0005

    def _connect(self) -> None:
        """Tells every node whom it reaches, and who closed a connection."""
        for a, host in self.hosts.items():
            if host.node is None:
                continue
            host.node.candidates = self._joiners
            for b, other in self.hosts.items():
                if a == b:
                    continue
                reached = other.node is not None and (a, b) not in self._cut
                if reached != (b in host.node.connected):
                    host.node.set_connected(b, connected=reached)
                    if not reached:
                        host.node.peer_closed(b)

    # -- network

    def _sender(self, source: str) -> Callable[[str, list[object]], None]:
        def send(target: str, frame: list[object]) -> None:
            if (source, target) in self._cut or target not in self.hosts:
                return
            if not self._calm and self.rng.random() < 0.01:
                return
            slow = self.rng.random() < 0.1 and not self._calm
            delay = self.rng.uniform(0.03, 0.4) if slow else self.rng.uniform(0.001, 0.02)
            due = max(self.now_s + delay, self._links.get((source, target), 0.0) + 1e-6)
            self._links[source, target] = due
            self._post(due, source, target, frame)
            if not self._calm and self.rng.random() < 0.005:
                self._post(due + self.rng.uniform(0, 0.5), source, target, frame)

        return send

    def _post(self, due: float, source: str, target: str, frame: list[object]) -> None:
        self._sent += 1
        boots = self.hosts[target].boots
        heapq.heappush(self._queue, (due, self._sent, source, target, boots, _wire(frame)))

    def _deliver(self) -> None:
        while self._queue and self._queue[0][0] <= self.now_s:
            _, _, source, target, boots, frame = heapq.heappop(self._queue)
            host = self.hosts[target]
            if host.node is None or host.boots != boots or (source, target) in self._cut:
                continue
            host.wakes_s = self.now_s
            self._guarded(host, lambda n, s=source, f=frame: self._receive(n, s, f))  # type: ignore[misc]

    def _receive(self, node: RaftNode, source: str, frame: list[Any]) -> None:
        if fault := node.receive(source, frame):
            raise Violation(f"an honest peer was cut off: {fault}")

    def _guarded(self, host: Host, act: Callable[[RaftNode], object]) -> None:
        assert host.node is not None
        try:
            act(host.node)
        except PowerCut:
            self.crash(host)
        except (NodeFault, AssertionError, KeyError, IndexError, ValueError) as error:
            raise Violation(f"{host.member_id[:4]} stopped itself: {error!r}") from error

    # -- time

    def step(self) -> None:
        """One hundredth of a second."""
        self.now_s += TURN_S
        self._deliver()
        for host in list(self.hosts.values()):
            if host.node is not None and self.now_s >= host.wakes_s:
                self._guarded(host, self._turn)
        self.invariants.check(self.hosts)
        self._collect()

    def _turn(self, node: RaftNode) -> None:
        wait = node.turn()
        self.hosts[node.member_id].wakes_s = self.now_s + min(wait, 0.1)

    # -- clients

    def write(self, host: Host) -> None:
        """One write through a node, remembered until its future ends."""
        if host.node is None:
            return
        self._writes += 1
        name = f"job-{self.rng.randint(0, 20)}"
        request_id = self.rng.getrandbits(128).to_bytes(16, "big")
        job = PutJob(name, self._writes.to_bytes(4, "big"), {}, None)
        command = encode(Envelope(request_id, host.clock.time_ms(), "sim", "sim", job))
        self._pending.append((f"{name}#{self._writes}", host.node.propose(command, request_id)))

    def _collect(self) -> None:
        still = []
        for label, future in self._pending:
            if not future.done():
                still.append((label, future))
            elif future.exception() is None and isinstance(outcome := future.result(), Applied):
                self.invariants.acknowledged(label, outcome.revision)
            elif (error := future.exception()) and not isinstance(error, HeroctlError):
                raise Violation(f"a write ended with {error!r}")
        self._pending = still

    # -- faults

    def disturb(self) -> None:
        """Maybe one fault, maybe one repair."""
        rng, down = self.rng, [h for h in self.hosts.values() if h.node is None]
        chance = rng.random()
        if chance < 0.004 and len(down) < len(self.hosts) // 2 + 1:
            up = [h for h in self.hosts.values() if h.node is not None]
            self.crash(rng.choice(up))
        elif chance < 0.008:
            self._partition()
        elif chance < 0.020 and down:
            self.boot(rng.choice(down))
        elif chance < 0.026 and self._cut:
            self.heal()
        elif chance < 0.032:
            self._begin_dump()
        elif chance < 0.034:
            rng.choice(list(self.hosts.values())).clock.skew_ms = rng.randint(-(10**7), 10**7)
        elif chance < 0.0355 and len(self.hosts) < self.voters + 2:
            self._join()

    def _partition(self) -> None:
        lonely = self.rng.choice(list(self.hosts))
        both = self.rng.random() < 0.7
        for other in self.hosts:
            if other != lonely:
                self._cut.add((lonely, other))
                if both:
                    self._cut.add((other, lonely))
        self._connect()

    def heal(self) -> None:
        self._cut.clear()
        self._connect()

    def _begin_dump(self) -> None:
        host = self.rng.choice(list(self.hosts.values()))
        if host.node is not None:
            self._guarded(host, RaftNode.begin_dump)

    def _join(self) -> None:
        """A new machine asks to join; now and then under the name of one that is down."""
        down = [h for h in self.hosts.values() if h.node is None]
        name = f"x{len(self.hosts)}"
        for host in self.hosts.values():
            if down and host.node is not None:
                spec = host.node.configuration.members.get(down[0].member_id)
                name = spec.name if spec else name
        member_id = self._new_id()
        self._joiners[member_id] = Candidate(name, f"{name}:1")
        self._add_host(member_id, Configuration({}))

    # -- the run

    def run(self, seconds: float = 20.0) -> None:
        """Faults for `seconds`, then calm, then everything acknowledged must be there."""
        while self.now_s < seconds:
            self.disturb()
            for host in self.hosts.values():
                if self.rng.random() < 0.1:
                    self.write(host)
            self.step()
        self._calm = True
        self.heal()
        for host in self.hosts.values():
            if host.node is None:
                self.boot(host)
        self._settle()
        self.invariants.check_end(self.hosts)

    def _settle(self) -> None:
        """The healed cluster serves again, and every call has ended."""
        until = self.now_s + 15.0
        while self.now_s < until:
            self.step()
            if not self._pending and self._converged():
                return
        raise Violation("the healed cluster does not serve, or a call never ended")

    def _converged(self) -> bool:
        nodes = [h.node for h in self.hosts.values() if h.node is not None]
        leaders = [n for n in nodes if n.leading and n.core.noop_index is not None]
        if not leaders:
            return False
        leader = max(leaders, key=lambda n: n.core.term)
        members = [n for n in nodes if n.member_id in leader.configuration.members]
        last = leader.log.entries[-1][1]
        return all(n.core.applied_index == last for n in members)


def _wire(frame: list[object]) -> list[Any]:
    """The frame as it arrives: lists, as msgpack makes them."""
    return [_listed(value) for value in frame]


def _listed(value: object) -> object:
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value
