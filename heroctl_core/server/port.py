"""What the server needs of a node: control_plane.ControlPlane has it, tests build it smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..catalogue.access import OPERATOR, Actor
from ..catalogue.acl import Acl
from ..catalogue.ingress import Ingress
from ..catalogue.jobs import Jobs
from ..catalogue.members import Members, shown
from ..catalogue.metrics import Metrics
from ..catalogue.nodes import Nodes
from ..catalogue.secrets import Secrets
from ..catalogue.watches import Watches
from ..catalogue.writes import Written
from ..clock import rfc3339
from ..raft.port import Member, Mode, RaftStatus
from ..state.commands import Command, Expectation
from ..version import __version__


@dataclass(frozen=True, slots=True)
class TlsStatus:
    """Until when the certificates of a node are valid, and what is wrong with them."""

    node_expires_ms: int
    authority_expires_ms: int
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str]:
        """As the API shows it."""
        return {
            "certificate_expires": rfc3339(self.node_expires_ms),
            "authority_expires": rfc3339(self.authority_expires_ms),
        }


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a node: what its engine last published, and where its state stands."""

    cluster: str
    node: str
    raft: RaftStatus
    revision: int
    epoch: int
    rows: Mapping[str, int] = field(default_factory=dict)
    tls: TlsStatus | None = None  # None: the nodes talk without TLS

    @property
    def mode(self) -> Mode:
        """What this node can do."""
        return self.raft.mode

    @property
    def has_quorum(self) -> bool:
        """True while this node hears a majority of the voters."""
        return self.raft.mode in (Mode.NORMAL, Mode.DEGRADED)

    @property
    def is_ready(self) -> bool:
        """True when a write sent to this node would be taken, and a read shows what is there: a
        node that starts has applied its committed log."""
        return self.has_quorum and self.raft.leader_id is not None and self.age_s is not None

    @property
    def leader(self) -> str | None:
        """The leader's name, when one is known."""
        leader = self._member(self.raft.leader_id)
        return leader.name if leader else None

    @property
    def generation(self) -> int:
        """The number of the newest link of the lineage; 0 before the first start is done."""
        return self.raft.lineage[-1].number if self.raft.lineage else 0

    @property
    def age_s(self) -> float | None:
        """How many seconds this node's copy may be behind; None when it never was up to date."""
        age_s = self.raft.last_contact_s
        return age_s if math.isfinite(age_s) else None

    def _member(self, member_id: str | None) -> Member | None:
        return next((m for m in self.raft.members if m.member_id == member_id), None)

    def to_json(self) -> dict[str, Any]:
        """The status as the API and the command line show it."""
        raft = self.raft
        return {
            "cluster": self.cluster,
            "cluster_id": raft.cluster_id,
            "node": self.node,
            "member_id": raft.member_id,
            "version": __version__,
            "mode": str(raft.mode),
            "mode_since": rfc3339(raft.mode_since_ms),
            "has_quorum": self.has_quorum,
            "is_ready": self.is_ready,
            "role": raft.role,
            "leader": self.leader,
            "term": raft.term,
            "generation": self.generation,
            "restore_id": raft.lineage[-1].restore_id if raft.lineage else None,
            "fencing": raft.fencing,
            "revision": self.revision,
            "epoch": self.epoch,
            "first_index": raft.first_index,
            "last_index": raft.last_index,
            "commit_index": raft.commit_index,
            "applied_index": raft.applied_index,
            "age_s": None if self.age_s is None else round(self.age_s, 3),
            "tick_age_s": round(raft.tick_age_s, 3),
            "members": shown(raft.members),
            "leader_changes": raft.leader_changes,
            "failed_installs": raft.failed_installs,
            "peers_cut_off": raft.peers_cut_off,
            "rows": dict(self.rows),
            "tls": self.tls.to_json() if self.tls else None,
            "warnings": [*raft.warnings, *(self.tls.warnings if self.tls else ())],
        }


class SavedSnapshot(Protocol):
    """A snapshot that is written and verified. `counts` has jobs, secrets, acl_rules, nodes."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def stale(self) -> bool: ...
    @property
    def counts(self) -> Mapping[str, int]: ...


class Snapshots(Protocol):
    """Saves the state of a node."""

    def save(self, path: Path, *, encrypted: bool = True, actor: Actor = ...) -> SavedSnapshot:
        """A verified archive at `path`, of this node's copy when there is no quorum. Raises
        CommandRejected denied, NoKey, FileFault."""
        ...


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What the operator said about a restore that a running node does for them."""

    confirm_cluster: str | None = None
    expect_sha256: str | None = None
    encrypted: bool = True
    revoke_tokens: bool = False
    archive_name: str | None = None  # what the operator calls the file; here it is a copy
    dry_run: bool = False


class Report(Protocol):
    """What a restore did, or would do."""

    def to_json(self) -> dict[str, Any]: ...


class Lifecycle(Protocol):
    """Changes of generation while the node runs."""

    def join(self, address: str) -> None:
        """Lets this node, whose folder is empty, join the cluster of the member at `address`.
        Raises RecoveryError for a node that belongs to a cluster, UsageError."""
        ...

    def force_bootstrap(self, archive: Path, options: RestoreOptions) -> Report:
        """Makes this node the one voter of the next generation, with the archive's state. Raises
        RecoveryError while there is a quorum, ArchiveError."""
        ...

    def resume(self, *, others_destroyed: bool) -> None:
        """Ends a contest that is over; with `others_destroyed` the generation counts as confirmed.
        Raises RecoveryError while a rival runs."""
        ...

    def yield_to(self, name: str, *, confirm_cluster: str) -> str:
        """Gives this node's generation up for that of another node, by its name, address or restore
        id; what was done. Raises RecoveryError for a confirmed generation that serves."""
        ...


class Node(Protocol):
    """One running node. Everything may be called from any thread."""

    @property
    def jobs(self) -> Jobs: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def acl(self) -> Acl: ...
    @property
    def ingress(self) -> Ingress: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def members(self) -> Members: ...
    @property
    def watches(self) -> Watches: ...
    @property
    def snapshot(self) -> Snapshots: ...
    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def spool_dir(self) -> Path: ...

    def transaction(
        self,
        parts: Iterable[Command | Expectation],
        *,
        request_id: bytes | None = None,
        actor: Actor = OPERATOR,
    ) -> Written:
        """Several writes as one."""
        ...

    def status(self) -> Status:
        """The newest look; does not wait for the engine."""
        ...
