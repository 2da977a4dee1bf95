"""What is known before a restore: the archive's facts, the folder's, the peers', the operator's.

Values only; plan.py makes a plan of them, refusals.py says what speaks against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..raft.handshake import Lineage
from ..raft.membership import EMPTY, Configuration
from ..snapshot.manifest import ManifestHeader


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
    not been started yet. `runs` is True for a running node that restores itself.
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
    runs: bool = False

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
    """What the operator said. `archive_name` is theirs for the archive, where what is read is only
    a copy of it."""

    force_bootstrap: bool = False
    confirm_cluster: str | None = None
    expect_sha256: str | None = None
    revoke_tokens: bool = False
    archive_name: str | None = None


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
