"""A node without disk: the real catalogue over the in-memory replicator, for tests of the edges.

It has all that server/ asks of a node, and saves real archives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ..backup.save import Snapshots
from ..catalogue.catalogue import Catalogue
from ..client import Client
from ..clock import Clock, SystemClock
from ..config.model import Limits
from ..crypto.keys import BackupKey
from ..crypto.sealed import Keyring
from ..errors import RecoveryError, UsageError
from ..server.http import ApiServer
from ..server.port import RestoreOptions, Status
from ..state.rows import KINDS
from .local_cluster import free_ports
from .replicator import InMemoryReplicator

CLUSTER: Final = "memory"  # its name, and the node's
KEY: Final = BackupKey(bytes(range(32)), source="memory")  # seals its archives


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

    def join(self, address: str) -> None:
        """Refused: it leads a cluster of its own."""
        raise RecoveryError(f"this node has a cluster, it does not join that of {address}")

    def force_bootstrap(self, archive: Path, options: RestoreOptions) -> MemoryReport:
        """The report of a bootstrap that changed nothing."""
        if _has_quorum(self.replicator):
            raise RecoveryError("this node has a quorum", hint="nothing has to be forced")
        report = MemoryReport(sha256(archive.read_bytes()).hexdigest(), options)
        self.reports.append(report)
        return report

    def resume(self, *, others_destroyed: bool) -> None:
        """Nothing contests a node in memory."""
        raise RecoveryError("this node is not contested")

    def yield_to(self, name: str, *, confirm_cluster: str) -> str:
        """Nobody else is there."""
        raise RecoveryError(f"no other generation is known as {name!r}")


class MemoryNode:
    """One node in memory. `replicator` has the switches for a lost quorum or a lost answer."""

    def __init__(self, spool_dir: Path, *, clock: Clock | None = None) -> None:
        self.spool_dir = spool_dir
        self.replicator = InMemoryReplicator(clock)
        keyring, clock = Keyring.create(), clock or SystemClock()
        catalogue = Catalogue(self.replicator, lambda: keyring, clock)
        self.jobs = catalogue.jobs
        self.secrets = catalogue.secrets
        self.acl = catalogue.acl
        self.ingress = catalogue.ingress
        self.nodes = catalogue.nodes
        self.metrics = catalogue.metrics
        self.members = catalogue.members
        self.watches = catalogue.watches
        self.transaction = catalogue.transaction
        self.snapshot = Snapshots(
            self.replicator, lambda: keyring, [KEY], spool_dir, clock, cluster=CLUSTER, node=CLUSTER
        )
        self.lifecycle = MemoryLifecycle(self.replicator)

    def status(self) -> Status:
        """The look that a real node gives."""
        machine = self.replicator.machine
        return Status(
            cluster=CLUSTER,
            node=CLUSTER,
            raft=self.replicator.status(),
            revision=machine.revision,
            epoch=machine.epoch,
            rows={kind: machine.count(kind) for kind in KINDS},
        )


@dataclass(slots=True)
class ServedNode:
    """A node in memory behind a real server, on TCP and on a unix socket."""

    node: MemoryNode
    address: str
    socket: Path
    server: ApiServer
    _clients: list[Client] = field(default_factory=list)

    def client(self, token: str | None = None) -> Client:
        """A client: over TCP with a token, over the socket without."""
        target = f"unix:{self.socket}" if token is None else self.address
        self._clients.append(Client(target, token=token))
        return self._clients[-1]

    def token(self, *rules: dict[str, Any]) -> str:
        """A token that may do what the rules say; everything without any."""
        everything = {"resource": "*", "name": "*", "actions": ["*"]}
        self.node.acl.put_policy("test", rules or [everything])
        text = self.node.acl.put_token("test", ["test"]).text
        if text is None:
            raise UsageError("one token for each node")
        return text


@contextmanager
def serve(folder: Path, *, limit: Limits | None = None) -> Iterator[ServedNode]:
    """A served node whose spool and socket are in `folder`."""
    spool = folder / "spool"
    spool.mkdir()
    node, path = MemoryNode(spool), folder / "heroctl.sock"
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with ApiServer(node, listen=address, socket_path=path, limit=limit) as server:
        served = ServedNode(node, address, path, server)
        yield served
        for client in served._clients:
            client.close()
        node.watches.close()


def _has_quorum(replicator: InMemoryReplicator) -> bool:
    return replicator.status().leader_id is not None
