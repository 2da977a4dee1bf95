"""The operator in the simulation of generations: saves, restores, and ends what nodes cannot end.

A restore is planned by the real plan, which refuses while a peer that is reached serves; and
afterwards the operator follows what the status says: `resume`, or `yield` where a rival answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import RecoveryError
from ..raft import fence, orders, presence
from ..raft.handshake import Lineage, Relation
from ..raft.header import Header
from ..raft.membership import Configuration, MemberSpec
from ..raft.port import Generation
from ..raft.standing import Standing
from ..recovery.facts import ArchiveFacts, Options, Peer, Present
from ..recovery.plan import RestorePlan, make_plan
from ..snapshot.manifest import ManifestHeader
from ..state.machine import DumpState
from .invariants import Violation
from .simulated_member import CLUSTER, Member

if TYPE_CHECKING:
    from .simulated_generations import Generations

_ROUNDS = 8
_PATIENCE_S = 10.0  # nobody has to decide what ends by itself


class _Archive(NamedTuple):
    lineage: Lineage
    state: DumpState
    raft_index: int
    cluster_id: str


class Operator:
    """What a person does on the machines of one world."""

    def __init__(self, world: Generations) -> None:
        self._world = world
        self._archives: list[_Archive] = []

    def save(self) -> None:
        """A snapshot through a node that serves."""
        for member in self._world.up:
            node, folder = member.node, member.folder
            if node is None or not node.leading or not node.has_quorum() or folder is None:
                continue
            header = folder.header
            assert header is not None
            lineage = tuple((g.number, g.restore_id) for g in header.lineage)
            index = node.core.applied_index
            self._archives.append(_Archive(lineage, node.machine.dump(), index, header.cluster_id))
            self._world.stats["snapshots"] += 1

    def restore(self, member: Member) -> None:
        """A forced restore on one machine: stopped, sometimes after its disk was lost, restored,
        started again. Refused while a peer that is reached serves."""
        world = self._world
        if not self._archives:
            return
        archive = world.rng.choice(self._archives[-3:])
        empty = world.rng.random() < 0.15 and not world.stats["disks lost"]
        member.stop()
        if self._plan(member, archive).refusals:
            world.stats["restores refused"] += 1
        else:
            if empty:
                world.stats["disks lost"] += 1
                member.wipe()
                world.checks.disk_lost(world.members.values())
            plan = self._plan(member, archive)
            member.put_generation(_header(member, plan), archive.state)
            world.stats["restores"] += 1
        world.boot(member)

    def _plan(self, member: Member, archive: _Archive) -> RestorePlan:
        world = self._world
        head = ManifestHeader(
            CLUSTER, archive.cluster_id, archive.lineage, 1, 1, archive.raft_index, 1,
            world.time_ms(), world.time_ms(), "n", stale=False,
        )  # fmt: skip
        return make_plan(
            ArchiveFacts("archive", "0" * 64, 1, head, encrypted=True, counts={}),
            _present(member),
            self._peers(member),
            Options(force_bootstrap=True),
            restore_id=world.new_id()[:16],
            now_ms=world.time_ms(),
        )

    def _peers(self, member: Member) -> list[Peer]:
        """Who answers a probe."""
        world, found = self._world, []
        for other in world.up:
            ways = {(member.name, other.name), (other.name, member.name)}
            if other is not member and not ways & world.links.cut and other.standing is not None:
                said = other.standing.hello()
                if said.cluster_id:
                    found.append(
                        Peer(other.address, other.name, said.cluster_id, said.has_quorum,
                             said.lineage)
                    )  # fmt: skip
        return found

    # -- the end of a run

    def bring_together(self, seconds: float) -> None:
        """Waits until all members serve one generation; what only an operator can end, is ended.
        Violation when a cluster does not come together although nobody has to decide anything."""
        world = self._world
        for _ in range(_ROUNDS):
            if world.until(lambda: world.checks.converged(world.up), _PATIENCE_S):
                return
            if not self._contested() and world.until(
                lambda: world.checks.converged(world.up), seconds
            ):
                return
            world.checks.decided = True
            if not self._decide():
                break
            world.stats["decisions of an operator"] += 1
        shown = "; ".join(_shown(member) for member in world.up)
        raise Violation(f"the generations did not come together: {shown}")

    def _contested(self) -> list[Standing]:
        found = [m.standing for m in self._world.up if m.standing is not None]
        return [s for s in found if s.contested is not None or s.was_contested]

    def _decide(self) -> bool:
        """One decision; whether there was anything to decide, by the words of the nodes."""
        world = self._world
        for standing in self._contested():
            try:
                orders.resume(standing, world.now_s, others_destroyed=world.rng.random() < 0.5)
            except RecoveryError:
                rival = presence.rival_of(standing.situation(world.now_s))
                assert rival is not None
                orders.yield_to(standing, world.now_s, rival.lineage[-1][1])
            return True
        for member in world.up:
            standing = member.running
            if member.folder is not None and fence.promise(member.folder):
                hosts = [h for h in standing.neighbours.of(Relation.HOST) if not h.suspended]
                if hosts:
                    orders.yield_to(standing, world.now_s, hosts[0].lineage[-1][1])
                    return True
            if forks := standing.neighbours.of(Relation.FORK):
                orders.yield_to(standing, world.now_s, forks[0].lineage[-1][1])
                return True
        return self._restore_what_is_dead()

    def _restore_what_is_dead(self) -> bool:
        """Where nobody serves and nobody can: the restore that the status advises."""
        up = self._world.up
        if any(m.node is not None and m.node.leading and m.node.has_quorum() for m in up):
            return False
        self.restore(max(up, key=lambda m: len(m.lineage)))
        return True


def _present(member: Member) -> Present:
    """The facts of a stopped folder, as raft/restore_target.py reads them."""
    folder = member.locked()
    try:
        header = folder.header
        if header is None:
            return Present(member.name, folder.member_id, CLUSTER)
        fenced = member.newest_configuration(header)
        voters = Configuration({m: s for m, s in fenced.members.items() if s.voter})
        last = member.disk_of(header).log.entries[-1]
        known = (voters, last[2], last[1])
        if not fence.is_confirmed(folder):
            known = (header.parent, header.known_term, header.known_index)
        return Present(
            member.name,
            folder.member_id,
            CLUSTER,
            cluster_id=header.cluster_id,
            lineage=tuple((g.number, g.restore_id) for g in header.lineage),
            members=fenced,
            fence=known[0],
            known_term=known[1],
            known_index=known[2],
        )
    finally:
        folder.close()


def _header(member: Member, plan: RestorePlan) -> Header:
    folder = member.locked()
    folder.close()
    spec = MemberSpec(member.name, member.address, voter=True)
    return Header(
        cluster_id=plan.cluster_id,
        cluster_name=CLUSTER,
        lineage=tuple(Generation(number, restore_id) for number, restore_id in plan.lineage),
        members=Configuration({folder.member_id: spec}),
        origin="restore",
        created_at="2026-01-01T00:00:00Z",
        parent=plan.parent,
        known_term=plan.present.known_term if plan.parent.members else 0,
        known_index=plan.present.known_index if plan.parent.members else 0,
    )


def _shown(member: Member) -> str:
    standing, node = member.standing, member.node
    assert standing is not None
    role = "empty" if node is None else node.suspended or ("votes" if node.may_vote else "asks")
    links = "/".join(restore_id[:4] for restore_id in member.lineage)
    return f"{member.name} {links} {role} {list(standing.warnings)}"
