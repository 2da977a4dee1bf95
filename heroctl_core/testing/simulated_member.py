"""A machine in the simulation of generations: a real data folder, and the real Standing on it.

What the folder says – member id, generation, marks – is on real files; logs and dumps are in
memory, one of each generation, and stay there when the generation is put away.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import NodeFault
from ..raft.folder import DataFolder
from ..raft.header import Header
from ..raft.membership import Configuration
from ..raft.neighbours import RaftSettings
from ..raft.node import RaftNode, Timing
from ..raft.standing import Standing
from ..state.machine import DumpState, StateMachine
from .crash_disk import PowerCut
from .memory_log import MemoryLog
from .simulated_disk import DumpDisk, SimulatedDumps
from .simulated_machine import loaded

if TYPE_CHECKING:
    from .simulated_generations import Generations

CLUSTER: Final = "sim"


@dataclass(slots=True)
class Disk:
    """The log and the dumps of one generation; they outlive every process."""

    log: MemoryLog
    dumps: DumpDisk = field(default_factory=DumpDisk)


class SteppedFolder(DataFolder):
    """A data folder without a log of its own; `step` is called around each durable change, and may
    raise PowerCut."""

    step: Callable[[], None] = staticmethod(lambda: None)
    put_away: Callable[[str], None] = staticmethod(lambda _: None)

    def set_mark(self, name: str, value: Any) -> None:
        self.step()
        super().set_mark(name, value)
        self.step()

    def make_current(self, header: Header) -> None:
        self.step()
        super().make_current(header)
        self.step()

    def _begin(self, header: Header) -> None:
        folder = self.generations / header.folder_name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.put_away(header.folder_name)
        self.write_header(folder, header)
        self.make_current(header)

    def _finish_leaving(self) -> None:
        self.step()
        super()._finish_leaving()
        self.step()


class Member:
    """One machine: a Host for its Standing. `node` and `standing` live as long as the process."""

    def __init__(self, world: Generations, name: str, folder: Path) -> None:
        self.world = world
        self.name = name
        self.address = f"{name}:1"
        self.path = folder
        self.disks: dict[str, Disk] = {}  # by the name of the generation's folder
        self.folder: SteppedFolder | None = None
        self.standing: Standing | None = None
        self.up_node: RaftNode | None = None
        self.next_dial_s: dict[str, float] = {}
        self.next_look_s = 0.0

    # -- what Standing asks of its host

    @property
    def node(self) -> RaftNode | None:
        return self.up_node

    def close_generation(self) -> None:
        if self.up_node is not None:
            self.world.forget(self.up_node)
            self.up_node.stop(lambda: NodeFault("the generation was closed"))
            self.up_node = None
            if self.folder is not None:
                self.folder.step()

    def reopen(self) -> None:
        self.close_generation()
        folder, standing = self.open_folder, self.standing
        folder.reload()
        if folder.header is not None:
            self.up_node = self._open_node(folder, folder.header)
        self.hang_up()
        if standing is not None:
            standing.begin(self.world.now_s)

    def hang_up(self) -> None:
        self.world.links.hang_up(self)
        self.next_dial_s.clear()

    def drop(self, member_id: str) -> None:
        """All connections come back with a new hello, also that of the one which is meant."""
        self.hang_up()

    # -- the process

    @property
    def open_folder(self) -> SteppedFolder:
        if self.folder is None:
            raise NodeFault(f"{self.name} does not run")
        return self.folder

    @property
    def running(self) -> Standing:
        """The Standing of a process that runs."""
        if self.standing is None:
            raise NodeFault(f"{self.name} does not run")
        return self.standing

    @property
    def lineage(self) -> tuple[str, ...]:
        """The restore ids of the generation that this member is in; none while it is empty."""
        header = None if self.folder is None else self.folder.header
        return tuple(g.restore_id for g in header.lineage) if header else ()

    def boot(self) -> None:
        """Starts the process; the folder may cut the power even here."""
        world = self.world
        folder = self.folder = self.locked()
        folder.step = world.folder_step
        others = {m.name: m.address for m in world.members.values() if m is not self}
        settings = RaftSettings(
            self.name, CLUSTER, "key", listen=self.address, peers=others, expect=3
        )
        self.standing = Standing(self, folder, settings, self.address, decide=world.fencing.decide)
        self.reopen()

    def stop(self) -> None:
        """The process is gone; the disk stays."""
        folder, self.folder, self.standing = self.folder, None, None
        if self.up_node is not None:
            self.world.forget(self.up_node)
            self.up_node.stop(lambda: NodeFault("crash"))
            self.up_node = None
        self.hang_up()
        for disk in self.disks.values():
            disk.log = disk.log.crash()
        if folder is not None:
            folder.close()

    def wipe(self) -> None:
        """The disk is lost, with all that was on it."""
        self.stop()
        shutil.rmtree(self.path, ignore_errors=True)
        self.disks.clear()

    def put_generation(self, header: Header, state: DumpState) -> None:
        """What a restore leaves in the folder of a stopped node: a dump, a log that begins there,
        and the one rename."""
        folder = self.locked()
        machine = loaded(StateMachine(), state)
        disk = DumpDisk()
        dumps = SimulatedDumps(disk, random.Random(0), self.world.sent_dumps(header.restore_id))
        dumps.begin(2, 1, header.members, machine)
        while (ref := dumps.poll_written()) is None:
            pass
        self.disks[header.folder_name] = Disk(MemoryLog.create(dump=ref), disk)
        place = folder.generations / header.folder_name
        place.mkdir()
        folder.write_header(place, header)
        folder.make_current(header)
        folder.close()

    def locked(self) -> SteppedFolder:
        """The data folder, opened; ids come from the world's seed."""

        def put_away(name: str) -> None:
            if name in self.disks:
                self.disks[f"{name}-{len(self.disks)}"] = self.disks.pop(name)

        class Folder(SteppedFolder):
            new_id = staticmethod(self.world.new_id)

        folder = Folder.open(self.path, node_name=self.name, cluster_name=CLUSTER)
        folder.put_away = put_away
        return folder

    def _open_node(self, folder: DataFolder, header: Header) -> RaftNode:
        world = self.world
        disk = self.disk_of(header)
        machine, configuration = StateMachine(), header.members
        if disk.log.dump is not None:
            stored = disk.dumps.stored[disk.log.dump.name]
            machine, configuration = loaded(machine, stored.state), stored.configuration
        return RaftNode(
            folder.member_id,
            log=disk.log,  # type: ignore[arg-type]
            dumps=SimulatedDumps(
                disk.dumps,
                random.Random(world.rng.getrandbits(64)),
                world.sent_dumps(header.restore_id),
            ),
            machine=machine,
            configuration=configuration,
            clock=world,
            rng=random.Random(world.rng.getrandbits(64)),
            timing=Timing(1.0),
            send=lambda target, frame: world.links.send(self, target, frame),
            flush=lambda: None,
            wake=lambda: None,
        )

    def act(self, what: Callable[[], object]) -> None:
        """Lets the process do something; it may be killed in the middle of it."""
        try:
            what()
        except PowerCut:
            self.world.stats["kills inside a step"] += 1
            self.stop()

    def disk_of(self, header: Header) -> Disk:
        """Log and dumps of a generation, empty ones where a kill came before the first node."""
        return self.disks.setdefault(header.folder_name, Disk(MemoryLog.create()))

    def newest_configuration(self, header: Header) -> Configuration:
        """The voters that a restore over this generation has to fence."""
        from ..raft import guard, membership

        disk = self.disk_of(header)
        newest = header.members
        if disk.log.dump is not None:
            newest = disk.dumps.stored[disk.log.dump.name].configuration
        for data, index, _ in disk.log.entries:
            if index > disk.log.entries[0][1] and data[0] == guard.MEMBERSHIP:
                newest = membership.decode(data[1:])
        return newest
