"""A node without disk: the real catalogue over the in-memory replicator, for tests of the edges.

It has all that server/ asks of a node. Snapshots are the bytes that a test gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..catalogue.access import OPERATOR, Actor
from ..catalogue.catalogue import Catalogue
from ..clock import Clock, SystemClock
from ..crypto.sealed import Keyring
from ..errors import RecoveryError
from ..server.port import RestoreOptions, Status
from .replicator import InMemoryReplicator

ARCHIVE = b"an archive as good as any " * 1000


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """What MemorySnapshots.save() wrote."""

    size_bytes: int
    sha256: str
    revision: int
    stale: bool
    counts: dict[str, int]


class MemorySnapshots:
    """Saves `content`, and counts the rows as a real snapshot does."""

    def __init__(self, replicator: InMemoryReplicator) -> None:
        self.content = ARCHIVE
        self._replicator = replicator

    def save(
        self, path: Path, *, encrypted: bool = True, actor: Actor = OPERATOR
    ) -> MemorySnapshot:
        """Writes the content to `path`; `encrypted` makes no difference here."""
        actor.check("save", "snapshot", "*")
        path.write_bytes(self.content if encrypted else self.content.upper())
        machine = self._replicator.machine
        return MemorySnapshot(
            size_bytes=len(self.content),
            sha256=sha256(path.read_bytes()).hexdigest(),
            revision=machine.revision,
            stale=not _has_quorum(self._replicator),
            counts={"jobs": machine.count("jobs"), "secrets": machine.count("secrets"),
                    "acl_rules": 0, "nodes": machine.count("nodes")},
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What MemoryLifecycle.force_bootstrap() was asked for."""

    sha256: str
    options: RestoreOptions

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        return {"sha256": self.sha256, "dry_run": self.options.dry_run}


@dataclass(slots=True)
class MemoryLifecycle:
    """Keeps what it was asked for; refuses while there is a quorum, as a real node does."""

    replicator: InMemoryReplicator
    reports: list[MemoryReport] = field(default_factory=list)

    def force_bootstrap(self, archive: Path, options: RestoreOptions) -> MemoryReport:
        """The report of a bootstrap that changed nothing."""
        if _has_quorum(self.replicator):
            raise RecoveryError("this node has a quorum", hint="use snapshot restore --online")
        report = MemoryReport(sha256(archive.read_bytes()).hexdigest(), options)
        self.reports.append(report)
        return report


class MemoryNode:
    """One node in memory. `replicator` has the switches for a lost quorum or a lost answer."""

    def __init__(self, spool_dir: Path, *, clock: Clock | None = None) -> None:
        self.spool_dir = spool_dir
        self.replicator = InMemoryReplicator(clock)
        keyring = Keyring.create()
        catalogue = Catalogue(self.replicator, lambda: keyring, clock or SystemClock())
        self.jobs = catalogue.jobs
        self.secrets = catalogue.secrets
        self.acl = catalogue.acl
        self.ingress = catalogue.ingress
        self.nodes = catalogue.nodes
        self.metrics = catalogue.metrics
        self.snapshot = MemorySnapshots(self.replicator)
        self.lifecycle = MemoryLifecycle(self.replicator)

    def status(self) -> Status:
        """The look that a real node gives."""
        machine = self.replicator.machine
        return Status(
            cluster="memory",
            node="memory",
            raft=self.replicator.status(),
            revision=machine.revision,
            epoch=machine.epoch,
            rows={kind: machine.count(kind) for kind in ("jobs", "secrets", "acl", "nodes")},
        )


def _has_quorum(replicator: InMemoryReplicator) -> bool:
    return replicator.status().leader_id is not None
