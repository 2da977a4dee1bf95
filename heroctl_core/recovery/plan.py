"""What a restore would do, as a value: the dry run prints it, the executor takes it. Pure.

Which generation comes next and what is to do afterwards; what speaks against it is decided in
refusals.py. The facts come from the archive, the data folder and the peers; nothing here looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..clock import rfc3339
from ..raft.handshake import Lineage, contains
from ..raft.membership import EMPTY, Configuration
from .facts import ArchiveFacts, Loss, Options, Peer, Present, Refusal
from .refusals import START, is_finishing, is_foreign, refusals_of, warnings_of

NOT_IN_ARCHIVE: Final = (
    "server.yaml",
    "TLS keys",
    "the backup key",
    "logs",
    "the audit log",
    "records of backup runs and restore tests",
)


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """All that `execute` does and all that the operator should know before."""

    archive: ArchiveFacts
    present: Present
    options: Options
    now_ms: int
    lineage: Lineage  # of the new generation, its own link last
    cluster_id: str
    cluster_name: str
    parent: Configuration
    revision: int
    epoch: int
    time_ms: int
    losses: tuple[Loss, ...]
    revived_tokens: int
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    next_steps: tuple[str, ...]

    @property
    def generation(self) -> int:
        return self.lineage[-1][0]

    @property
    def restore_id(self) -> str:
        return self.lineage[-1][1]

    @property
    def is_foreign(self) -> bool:
        """Whether the archive is of another cluster than the folder."""
        return is_foreign(self.archive, self.present)

    @property
    def is_finishing(self) -> bool:
        """Whether an earlier run did all of this, or all but the receipt."""
        return is_finishing(self.archive, self.present, self.options)

    @property
    def done(self) -> Mapping[str, Any]:
        """The receipt that counts afterwards: an earlier run's when nothing else is to do."""
        if self.is_finishing:
            return self.present.unfinished or self.present.receipt
        return self.receipt()

    @property
    def age_s(self) -> int:
        """How old the archive is."""
        return max(0, self.now_ms - self.archive.header.created_ms) // 1000

    def receipt(self) -> dict[str, Any]:
        """What receipt.json says afterwards."""
        return {
            "archive": self.archive.path,
            "archive_sha256": self.archive.sha256,
            "cluster_id": self.cluster_id,
            "forced": self.options.force_bootstrap,
            "generation": self.generation,
            "restore_id": self.restore_id,
            "restored_at": rfc3339(self.now_ms),
            "revision": self.revision,
            "revoke_tokens": self.options.revoke_tokens,
        }


def make_plan(
    archive: ArchiveFacts,
    present: Present,
    peers: Sequence[Peer],
    options: Options,
    *,
    restore_id: str,
    now_ms: int,
    losses: tuple[Loss, ...] = (),
    revived_tokens: int = 0,
    warnings: tuple[str, ...] = (),
) -> RestorePlan:
    """The plan for these facts; `refusals` is empty when it may be executed."""
    head = archive.header
    foreign = is_foreign(archive, present)
    ours = [peer for peer in peers if peer.cluster_id in (head.cluster_id, present.cluster_id)]
    parent_lineage = head.lineage if foreign else _parent_lineage(present, archive)
    parent = EMPTY if foreign else _parent(present, parent_lineage)
    return RestorePlan(
        archive=archive,
        present=present,
        options=options,
        now_ms=now_ms,
        lineage=(*parent_lineage, (_next_number(archive, present, ours), restore_id)),
        cluster_id=head.cluster_id,
        cluster_name=present.cluster_name or head.cluster_name,
        parent=parent,
        revision=max(head.revision, present.revision),
        epoch=max(head.epoch, present.epoch) + 1,
        time_ms=max(head.time_ms, present.time_ms),
        losses=losses,
        revived_tokens=0 if options.revoke_tokens else revived_tokens,
        warnings=(*warnings, *warnings_of(archive, present)),
        refusals=refusals_of(archive, present, ours, options),
        next_steps=_next_steps(present, parent),
    )


def _next_number(archive: ArchiveFacts, present: Present, peers: Sequence[Peer]) -> int:
    """One above everything seen, also above what only a peer or the receipt says."""
    lineages = [present.lineage, archive.lineage, *(peer.lineage for peer in peers)]
    numbers = [number for lineage in lineages for number, _ in lineage]
    return max(*numbers, int(present.receipt.get("generation", 0)), 0) + 1


def _parent(present: Present, lineage: Lineage) -> Configuration:
    """Who must not go on beside the new generation. An archive that continues the folder's lineage
    comes from a generation whose voters nobody here knows: then the folder's are only asked."""
    if lineage == present.lineage:
        return present.fence
    members = present.fence.members.items()
    return Configuration({m: replace(s, voter=False) for m, s in members})


def _parent_lineage(present: Present, archive: ArchiveFacts) -> Lineage:
    """The longer lineage when one contains the other. Otherwise the folder's: its old peers must
    see that the new generation continues theirs."""
    if not present.lineage or contains(archive.lineage, present.lineage):
        return archive.lineage
    return present.lineage


def _next_steps(present: Present, parent: Configuration) -> tuple[str, ...]:
    """One line for each node, in the order in which they must be done."""
    here = present.node_name
    others = sorted(
        {spec.name for spec in present.members.members.values()}
        | {spec.name for spec in parent.members.values()}
    )
    steps = [] if present.runs else [f"on {here}, first: {START}"]
    steps.append(f"on {here}: heroctl status (wait for a leader)")
    steps += [f"on {name}, then: {START}" for name in others if name != here]
    if present.is_empty:
        steps.append(f"on each other node, then: {START}")
    return tuple(steps)
