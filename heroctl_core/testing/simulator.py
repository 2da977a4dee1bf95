"""A whole cluster in one thread under a virtual clock: one seed, one run, the same every time.

Real nodes (raft/node.py), real state machines, the real guard, if wanted the real log; network,
disks and time are simulated, with the faults of testing/simulated_faults.py.
`testing/invariants.py` says what must hold after every turn, `testing/simulated_clients.py` what
clients may be told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import ArchiveError, LogFault, LogFull, NodeFault
from ..raft.membership import Candidate, Configuration, MemberSpec
from ..raft.node import RaftNode, Timing
from .crash_disk import PowerCut
from .invariants import Invariants, Violation
from .simulated_calm import settle
from .simulated_clients import Clients
from .simulated_disk import FileStorage, MemoryStorage, SimulatedDumps, Storage
from .simulated_faults import Faults
from .simulated_host import TURN_S, Host, VirtualClock
from .simulated_machine import WatchedMachine, loaded
from .simulated_network import CALM, Network
from .simulated_operators import Operators
from .weakened import Parts

RATES: Final = (0.95, 1.05)  # of the clocks, at first
DEFECTS: Final = (NodeFault, AssertionError, LookupError, TypeError, ValueError)
COMPARED_S: Final = 3.0  # how often nodes compare their states: a false alarm stops one


@dataclass(slots=True, eq=False)
class World:
    """The cluster and everything around it. Create one for each run; `run` does the whole.

    With `folder` each log is the real one, in files there. `parts` is what the nodes are made of.
    `stats` counts what happened.
    """

    seed: int
    voters: int = 3
    parts: Parts = field(default_factory=Parts)
    folder: Path | None = None
    now_s: float = 0.0
    rng: random.Random = field(init=False)
    network: Network = field(init=False)
    clients: Clients = field(init=False)
    operators: Operators = field(init=False)
    faults: Faults = field(init=False)
    hosts: dict[str, Host] = field(default_factory=dict)
    invariants: Invariants = field(default_factory=Invariants)
    stats: Counter[str] = field(default_factory=Counter)
    calm: bool = False
    _acted: dict[Host, None] = field(default_factory=dict)  # in this step, in order
    _dumps: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.network = Network(self.rng)
        self.clients = Clients(self.rng, self.invariants.applications, self.stats)
        self.operators = Operators(self.rng, self.stats)
        self.faults = Faults(self)
        ids = [self.new_id() for _ in range(self.voters)]
        names = {m: Candidate(f"n{i}", f"n{i}:1") for i, m in enumerate(ids)}
        specs = {m: MemberSpec(c.name, c.address, voter=True) for m, c in names.items()}
        for member_id in ids:
            self.add_host(member_id, names[member_id], Configuration(specs))

    def new_id(self) -> str:
        """A random member id."""
        return f"{self.rng.getrandbits(128):032x}"

    def add_host(self, member_id: str, names: Candidate, initial: Configuration) -> None:
        """A new machine with an empty disk; it starts at once."""

        def step(what: str) -> None:
            self.faults.disk_step(host, what)

        storage: Storage = MemoryStorage(step, self.parts.log)
        if self.folder is not None:
            storage = FileStorage(self.folder / member_id, step)
        host = Host(member_id, names, VirtualClock(self), initial, storage)
        host.clock.origin_s = self.rng.uniform(0, 1e5)
        host.clock.change_rate(self.rng.uniform(*RATES))
        self.hosts[member_id] = host
        self.boot(host)

    def leader(self) -> Host | None:
        """Somebody who believes that it leads."""
        leading = [h for h in self.hosts.values() if h.node is not None and h.node.leading]
        return self.rng.choice(leading) if leading else None

    @property
    def nodes(self) -> list[RaftNode]:
        """Every node that is up."""
        return [host.node for host in self.hosts.values() if host.node is not None]

    # -- hosts

    def boot(self, host: Host) -> None:
        """Starts a node from what its disk holds."""
        host.boots += 1
        try:
            log = host.storage.open()
        except (PowerCut, LogFull, LogFault):
            host.storage.lose_power(self.rng)
            return
        except ArchiveError as error:
            raise Violation(f"{host.member_id[:4]} cannot start again: {error}") from error
        machine, configuration = self._new_machine(), host.initial
        if log.dump is not None:
            stored = host.dumps.stored[log.dump.name]
            machine, configuration = loaded(machine, stored.state), stored.configuration
        host.node = self.parts.node(
            host.member_id,
            log=log,  # type: ignore[arg-type]
            dumps=SimulatedDumps(host.dumps, self.rng, self._dumps, self._new_machine),
            machine=machine,
            configuration=configuration,
            clock=host.clock,
            rng=random.Random(self.rng.getrandbits(64)),
            timing=Timing(1.0),
            send=self._sender(host),
            flush=lambda: None,
            wake=host.wake,
            kept_entries=self.rng.choice((0, 5, 50)),
        )
        host.node.divergence.every_s = COMPARED_S
        host.node.start_voting()
        host.wakes_s = self.now_s
        self.stats["boots"] += 1
        self.connect()

    def _new_machine(self) -> WatchedMachine:
        machine = self.parts.machine()
        machine.watched = self.invariants.applications
        return machine

    def crash(self, host: Host) -> None:
        """A power cut: the node is gone, its disk keeps what was synced."""
        node = host.node
        assert node is not None
        self.stats["crashes"] += 1
        assert host.configuration is node.configuration  # remembered
        self.invariants.check_applied(node)  # also what it applied in its last moment
        node.stop(lambda: NodeFault("power cut"))
        self.clients.crashed(node)
        self.invariants.forget(node)
        host.node = None
        host.clock.end_turn()
        host.storage.lose_power(self.rng)
        self.connect()

    def connect(self) -> None:
        """Tells every node whom it reaches, who closed a connection, and who asks to join."""
        for a, host in self.hosts.items():
            if host.node is None:
                continue
            for b in sorted(self.hosts.keys() | host.node.connected):
                if a == b:
                    continue
                other = self.hosts.get(b)
                up = other is not None and other.node is not None
                reached = up and self.network.seems_open(a, b)
                if reached != (b in host.node.connected):
                    host.node.set_connected(b, connected=reached)
                    if not reached:
                        host.node.peer_closed(b)
            met = sorted(self.hosts.keys() & host.node.connected)
            host.node.candidates = {m: self.hosts[m].names for m in met}

    def _sender(self, host: Host) -> Callable[[str, list[object]], None]:
        def send(target: str, frame: list[object]) -> None:
            self.faults.before_send()
            if other := self.hosts.get(target):
                at_s = host.clock.now_s
                self.network.send(host.member_id, target, other.boots, frame, at_s)

        return send

    def act(self, host: Host, what: Callable[[RaftNode], object]) -> None:
        """Lets a node do something; the power may be cut anywhere in it."""
        node = host.node
        assert node is not None
        self.faults.in_turn = True
        self._acted[host] = None
        try:
            what(node)
        except PowerCut:
            self.faults.in_turn = False
            self.crash(host)
        except (LogFull, LogFault) as error:
            # The node stops itself. What its disk lacks then is no less than after a power cut.
            self.faults.in_turn = False
            self.stats[f"stopped: {error.reason}"] += 1
            self.crash(host)
        except DEFECTS as error:
            self.invariants.check_kept(node)
            raise Violation(f"{host.member_id[:4]} stopped itself: {error!r}") from error
        else:
            host.clock.end_turn()
        self.faults.in_turn = False

    # -- time

    def step(self) -> None:
        """One hundredth of a second."""
        self.now_s += TURN_S
        for arrival in self.network.arrivals(self.now_s):
            host = self.hosts.get(arrival.target)
            if host is None or host.node is None or host.boots != arrival.boots:
                continue
            if host.clock.busy:
                self.network.postpone(arrival, host.clock.busy_until_s)
                continue
            host.wakes_s = self.now_s
            self.act(host, lambda n, a=arrival: self._receive(n, a.source, a.frame))  # type: ignore[misc]
        for host in list(self.hosts.values()):
            if host.node is not None and self.now_s >= host.wakes_s and not host.clock.busy:
                self.act(host, lambda node, host=host: self._turn(node, host))  # type: ignore[misc]
        self.invariants.check([h.node for h in self._acted if h.node is not None])
        self._acted.clear()
        self.clients.go_on(self.nodes, self.now_s, give_up=self.calm)
        self.operators.go_on(self.now_s)

    def _receive(self, node: RaftNode, source: str, frame: list[Any]) -> None:
        if fault := node.receive(source, frame):
            raise Violation(f"an honest peer was cut off: {fault}")

    def _turn(self, node: RaftNode, host: Host) -> None:
        wait_s = node.turn()
        host.wakes_s = host.clock.now_s + min(wait_s, 0.1)

    # -- the run

    def run(self, seconds: float = 20.0) -> None:
        """Faults for `seconds`, then calm, then everything that clients were told must be true."""
        while self.now_s < seconds:
            self.faults.disturb()
            for host in self.hosts.values():
                if host.node is not None:
                    self._maybe_call(host.node)
            self.step()
        self.calm = True
        self.network.weather = CALM
        self.faults.end()
        settle(self)
        self.invariants.check_end(self.nodes)
        self.clients.check_end(entry.data for entry in self.invariants.entries.values())
        self.operators.check_end(sorted(self.invariants.entries.items()))
        self.stats["leaders"] = len(self.invariants.leaders)
        self.stats.update(self.invariants.committed_changes())

    def _maybe_call(self, node: RaftNode) -> None:
        chance, share = self.rng.random(), min(0.1, 0.25 / len(self.hosts))
        if chance < share:
            self.clients.call(node, self.now_s)
        elif chance < share * 1.5:
            self.clients.look(node, self.now_s)

    def close(self) -> None:
        """Closes what is open, as power cuts do."""
        for host in self.hosts.values():
            host.storage.lose_power(self.rng)

    def digest(self) -> str:
        """One value for everything that happened; the number is another one when anything at all
        was decided by another draw."""
        return self.invariants.digest(self.stats, self.network.sent, self.rng.getrandbits(64))
