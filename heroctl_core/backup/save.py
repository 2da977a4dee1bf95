"""A snapshot of this node's copy: one view, one archive, verified before it counts.

Writes go on meanwhile: a view is references to shards that the machine copies when it changes
them. Without a quorum the copy is saved as it is and marked stale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ..catalogue.access import OPERATOR, Actor
from ..clock import Clock
from ..codec import unpack
from ..crypto.keys import BackupKey
from ..crypto.sealed import Keyring
from ..errors import Damaged, NoKey, NotApplied, ReadOnly
from ..raft.port import RaftStatus, Replicator
from ..snapshot.archive import Pause, Saved, Section, no_pause, write_archive
from ..snapshot.manifest import DIGESTS, SECTIONS, ManifestHeader
from ..state.acl import POLICY_PREFIX
from ..state.machine import View
from ..state.secrets import KEYRING_KEY

_CALL_S: Final = 5.0
_PAUSE_S: Final = 0.000_001  # the kernel makes 50 µs of it: enough to hand over, little in all


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that is written and verified. `counts` has jobs, secrets, acl_rules and nodes."""

    size_bytes: int
    sha256: str
    revision: int
    stale: bool
    counts: Mapping[str, int]
    duration_s: float


class Snapshots:
    """Saves the state of one node. Any thread; long work is done on the caller's."""

    def __init__(
        self,
        replicator: Replicator,
        stored_keyring: Callable[[], Keyring | None],
        keys: Sequence[BackupKey],
        spool_dir: Path,
        clock: Clock,
        *,
        cluster: str,
        node: str,
    ) -> None:
        """The first of `keys` encrypts."""
        self._replicator = replicator
        self._stored_keyring = stored_keyring
        self._keys = keys
        self._spool_dir = spool_dir
        self._clock = clock
        self._cluster = cluster
        self._node = node

    def save(
        self,
        target: Path | str | BinaryIO,
        *,
        encrypted: bool = True,
        overwrite: bool = False,
        actor: Actor = OPERATOR,
    ) -> Snapshot:
        """A verified archive at `target`. Raises CommandRejected denied, NoKey, FileFault."""
        actor.check("save", "snapshot", "*")
        if encrypted and not self._keys:
            raise NoKey("no backup key is configured (backup.encryption_key_file)")
        if not self._replicator.status().cluster_id:
            raise ReadOnly("this node has not joined a cluster, so there is nothing to save")
        started_s = time.monotonic()
        stale = not self._is_current()
        view, status = self._replicator.call(
            lambda: (self._replicator.machine.view(), self._replicator.status())
        ).result(_CALL_S)
        key = self._keys[0] if encrypted else None
        keyring = self._stored_keyring()
        saved = write_view(
            target,
            view,
            header_of(view, status, self._cluster, self._node, self._clock.time_ms(), stale=stale),
            key,
            keyring,
            self._spool_dir,
            overwrite=overwrite,
            pause=_let_others_run,
        )
        return Snapshot(
            saved.size_bytes,
            saved.sha256,
            view.revision,
            stale,
            counts_of(view),
            time.monotonic() - started_s,
        )

    def _is_current(self) -> bool:
        """Whether a quorum confirmed that this copy has every acknowledged write."""
        try:
            self._replicator.read_barrier().result(_CALL_S)
        except (NotApplied, TimeoutError):
            return False
        return True


def header_of(
    view: View, status: RaftStatus, cluster: str, node: str, now_ms: int, *, stale: bool
) -> ManifestHeader:
    """The manifest's facts about a view."""
    index = status.applied_index
    return ManifestHeader(
        cluster_name=cluster,
        cluster_id=status.cluster_id,
        lineage=tuple((g.number, g.restore_id) for g in status.lineage),
        epoch=view.epoch,
        revision=view.revision,
        raft_index=index,
        raft_term=status.term,
        created_ms=now_ms,
        time_ms=view.time_ms,
        node=node,
        stale=stale,
    )


def write_view(
    target: Path | str | BinaryIO,
    view: View,
    header: ManifestHeader,
    key: BackupKey | None,
    keyring: Keyring | None,
    spool_dir: Path,
    *,
    overwrite: bool = False,
    pause: Pause = no_pause,
) -> Saved:
    """The archive of a view. Every secret is opened once before it counts. `pause` is called
    between short steps: see write_archive."""
    return write_archive(
        target,
        [_section(name, version, view, key, keyring) for name, version in _sections(view)],
        header,
        key,
        spool_dir,
        overwrite=overwrite,
        unencrypted=key is None,
        checks={"secrets": _opens(keyring)},
        pause=pause,
    )


def _let_others_run() -> None:
    """Gives the interpreter to the engine's thread, which otherwise waits 5 ms for each step."""
    time.sleep(_PAUSE_S)


def counts_of(view: View) -> dict[str, int]:
    """What the three lines of `snapshot save` count; rules are those of all policies."""
    policies = (unpack(row) for _, row in view.items("acl", POLICY_PREFIX))
    return {
        "jobs": view.count("jobs"),
        "secrets": view.count("secrets"),
        "acl_rules": sum(len(policy["rules"]) for policy in policies),
        "nodes": view.count("nodes"),
    }


def keyring_of(view: View, keys: Sequence[BackupKey]) -> Keyring | None:
    """The keyring in a stored state, None before the first secret. NoKey, WrongKey, Damaged."""
    row = view.get("keyring", KEYRING_KEY)
    return None if row is None else Keyring.unwrap(unpack(row)["wrapped"], keys)


def _sections(view: View) -> list[tuple[str, int]]:
    standard = [(name, version) for name, version in SECTIONS.items() if name != DIGESTS]
    return standard + [(kind, 1) for kind in view.kinds if kind not in SECTIONS]


def _section(
    name: str, version: int, view: View, key: BackupKey | None, keyring: Keyring | None
) -> Section:
    if name == "keyring" and keyring is not None and key is not None:
        # Inside the encryption the keyring stands open: archive and backup key are enough on new
        # machines. Without encryption only the wrapped row goes along.
        records: Iterable[tuple[str, bytes]] = [(KEYRING_KEY, keyring.export())]
        return Section(name, version, records)
    return Section(name, version, view.items(name), view.count(name), view.fingerprint(name))


def _opens(keyring: Keyring | None) -> Callable[[str, bytes], None]:
    """A check that a stored secret opens; a snapshot with one that does not is no backup."""

    def check(name: str, row: bytes) -> None:
        if keyring is None:
            raise Damaged(f"secret {name}: the cluster has no keyring")
        keyring.open(name, unpack(row)["sealed"])

    return check
