"""What a restore would do, as a value: the dry run prints it, the executor takes it. Pure.

Everything that decides is here: which generation comes next, what is lost, what is refused and what
the way out is. The facts come from the archive, the data folder and the peers; nothing here looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..clock import rfc3339
from ..raft.handshake import Lineage, contains
from ..raft.membership import EMPTY, Configuration
from ..snapshot.manifest import ManifestHeader

NOT_IN_ARCHIVE: Final = (
    "server.yaml",
    "TLS keys",
    "the backup key",
    "logs",
    "the audit log",
    "records of backup runs and restore tests",
)
START: Final = "sudo systemctl start heroctl-server"
STOP: Final = "sudo systemctl stop heroctl-server"


@dataclass(frozen=True, slots=True)
class ArchiveFacts:
    """What the archive says of itself; it has been verified in full."""

    path: str
    sha256: str
    size_bytes: int
    header: ManifestHeader
    encrypted: bool
    counts: Mapping[str, int]  # jobs, secrets, acl_rules, nodes

    @property
    def lineage(self) -> Lineage:
        return self.header.lineage


@dataclass(frozen=True, slots=True)
class Present:
    """The data folder before the restore. `cluster_id` is None when it holds no generation, and
    `unreadable` says why its state could not be read.

    `fence` are the voters of the generation that must not go on beside the new one, `known_term`
    and `known_index` the last log entry of it that this node has. `unfinished` is the receipt of a
    restore that was killed after its switch; `untouched` tells that the restored generation has
    not been started yet.
    """

    node_name: str
    member_id: str
    cluster_name: str
    cluster_id: str | None = None
    lineage: Lineage = ()
    members: Configuration = EMPTY
    fence: Configuration = EMPTY
    known_term: int = 0
    known_index: int = 0
    uncommitted: int = 0
    revision: int = 0
    epoch: int = 0
    time_ms: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    unreadable: str | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict)
    unfinished: Mapping[str, Any] = field(default_factory=dict)
    untouched: bool = False

    @property
    def is_empty(self) -> bool:
        return self.cluster_id is None


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that answered when it was asked."""

    address: str
    name: str
    cluster_id: str
    has_quorum: bool
    lineage: Lineage = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator said."""

    force_bootstrap: bool = False
    confirm_cluster: str | None = None
    expect_sha256: str | None = None
    revoke_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """How the rows of one kind differ: only in the present state, in both but different, only in
    the archive."""

    kind: str
    dropped: int
    changed: int
    returned: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the restore is not done, and the way out."""

    message: str
    hint: str


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
    def is_finishing(self) -> bool:
        """Whether an earlier run did all of this, or all but the receipt."""
        return _is_finishing(self.archive, self.present, self.options)

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
    same_cluster = present.cluster_id in (None, head.cluster_id)
    parent_lineage = _parent_lineage(present, archive) if same_cluster else head.lineage
    ours = [peer for peer in peers if peer.cluster_id in (head.cluster_id, present.cluster_id)]
    numbers = [
        *(number for link in (present.lineage, head.lineage) for number, _ in link),
        *(number for peer in ours for number, _ in peer.lineage),
        int(present.receipt.get("generation", 0)),
    ]
    parent = present.fence if same_cluster else EMPTY
    return RestorePlan(
        archive=archive,
        present=present,
        options=options,
        now_ms=now_ms,
        lineage=(*parent_lineage, (max(numbers, default=0) + 1, restore_id)),
        cluster_id=head.cluster_id,
        cluster_name=present.cluster_name or head.cluster_name,
        parent=parent,
        revision=max(head.revision, present.revision),
        epoch=max(head.epoch, present.epoch) + 1,
        time_ms=max(head.time_ms, present.time_ms),
        losses=losses,
        revived_tokens=0 if options.revoke_tokens else revived_tokens,
        warnings=(*warnings, *_warnings(archive, present)),
        refusals=_refusals(archive, present, ours, options),
        next_steps=_next_steps(present, parent),
    )


def _parent_lineage(present: Present, archive: ArchiveFacts) -> Lineage:
    """The longer lineage when one contains the other. Otherwise the folder's: its old peers must
    see that the new generation continues theirs."""
    if not present.lineage or contains(archive.lineage, present.lineage):
        return archive.lineage
    return present.lineage


def _refusals(
    archive: ArchiveFacts, present: Present, peers: Sequence[Peer], options: Options
) -> tuple[Refusal, ...]:
    found = [_refuse_digest(archive, options), _refuse_name(archive, present, options)]
    if not _is_finishing(archive, present, options):
        found += [_refuse_peers(peers, options), _refuse_again(archive, present, options)]
    return tuple(refusal for refusal in found if refusal is not None)


def _is_finishing(archive: ArchiveFacts, present: Present, options: Options) -> bool:
    """Whether the same restore was done before and no node was started since. A plain one that has
    its receipt is done anew: the operator asked, and nothing is lost by it."""
    if not present.untouched or not (present.unfinished or options.force_bootstrap):
        return False
    receipt = present.unfinished or present.receipt
    return (
        receipt.get("archive_sha256") == archive.sha256
        and receipt.get("revoke_tokens") == options.revoke_tokens
    )


def _refuse_digest(archive: ArchiveFacts, options: Options) -> Refusal | None:
    wanted = options.expect_sha256
    if wanted is None or wanted.lower() == archive.sha256:
        return None
    return Refusal(
        f"{archive.path} has the sha256 {archive.sha256}, expected was {wanted}",
        "this is another file than the one you mean: compare with heroctl snapshot inspect",
    )


def _refuse_name(archive: ArchiveFacts, present: Present, options: Options) -> Refusal | None:
    name = present.cluster_name or archive.header.cluster_name
    given = options.confirm_cluster
    if given is not None and given != name:
        return Refusal(
            f"--confirm-cluster says {given}, this is cluster {name}",
            "check that you are on the right machine and in the right data folder",
        )
    if given is None and present.cluster_id not in (None, archive.header.cluster_id):
        return Refusal(
            f"the archive is of another cluster: id {archive.header.cluster_id} "
            f"({archive.header.cluster_name}), the folder has {present.cluster_id}",
            f"if you mean it, say --confirm-cluster {name}; the folder then takes the archive's id",
        )
    return None


def _refuse_peers(peers: Sequence[Peer], options: Options) -> Refusal | None:
    serving = [f"{peer.name} ({peer.address})" for peer in peers if peer.has_quorum]
    if serving:
        return Refusal(
            f"the cluster serves with a quorum: {', '.join(serving)}",
            f"nothing overrides a serving quorum; stop these nodes first: {STOP}",
        )
    if peers and not options.force_bootstrap:
        up = ", ".join(f"{peer.name} ({peer.address})" for peer in peers)
        return Refusal(
            f"nodes of this cluster are running: {up}",
            f"stop them first: {STOP}; if they have lost their quorum for good: --force-bootstrap",
        )
    return None


def _refuse_again(archive: ArchiveFacts, present: Present, options: Options) -> Refusal | None:
    """The same forced restore twice is an accident: a unit file with the flag in it."""
    receipt = present.unfinished or present.receipt
    link = (receipt.get("generation"), receipt.get("restore_id"))
    if (
        not options.force_bootstrap
        or receipt.get("archive_sha256") != archive.sha256
        or link not in present.lineage
    ):
        return None
    return Refusal(
        f"this archive was restored here at {receipt.get('restored_at')} as generation {link[0]}, "
        "which this folder still holds; once more would drop what was written since",
        f"start the node: {START}. If you do mean it: stop all nodes and restore without "
        "--force-bootstrap",
    )


def _warnings(archive: ArchiveFacts, present: Present) -> list[str]:
    found = []
    if archive.header.stale:
        found.append(
            "the archive was saved without a quorum: it may lack writes that were acknowledged"
        )
    if not archive.encrypted:
        found.append("the archive is not encrypted: nothing proves who wrote it")
    if present.unreadable is not None:
        found.append(
            f"the present state cannot be read ({present.unreadable}): "
            "what is lost is not known, and there is no safety copy"
        )
    if present.uncommitted:
        found.append(
            f"{present.uncommitted} log entries here were never seen committed; "
            "the safety copy has them"
        )
    related = contains(archive.lineage, present.lineage) or contains(
        present.lineage, archive.lineage
    )
    if not present.is_empty and present.cluster_id == archive.header.cluster_id and not related:
        found.append("the archive comes from a restore that this folder knows nothing of")
    return found


def _next_steps(present: Present, parent: Configuration) -> tuple[str, ...]:
    """One line for each node, in the order in which they must be done."""
    here = present.node_name
    others = sorted(
        {spec.name for spec in present.members.members.values()}
        | {spec.name for spec in parent.members.values()}
    )
    steps = [f"on {here}, first: {START}", f"on {here}: heroctl status (wait for a leader)"]
    steps += [f"on {name}, then: {START}" for name in others if name != here]
    if present.is_empty:
        steps.append(f"on each other node, then: {START}")
    return tuple(steps)
