"""A stopped data folder without a server: save it, or restore an archive into it.

The offline half of control_plane.py: here the adapters are picked and handed down. The folder is
locked while it is looked at; Busy names the process that has it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .backup.save import Snapshot, counts_of, keyring_of, write_view
from .clock import Clock, SystemClock
from .crypto.keys import BackupKey, generate_key_file, load_key_file
from .errors import NoKey, UsageError
from .node_keys import CLUSTER_KEY
from .raft.folder import DataFolder
from .raft.folder_checks import refuse_foreign
from .raft.identity import FILE
from .raft.restore_target import FolderTarget
from .raft.stored import StoredState, read_stored
from .recovery.facts import Options, Peer
from .recovery.plan import RestorePlan
from .recovery.restore import Probe, Restore, RestoreReport, Step
from .snapshot.archive import open_archive
from .snapshot.manifest import ManifestHeader

__all__ = [
    "Local",
    "OfflineRestore",
    "OfflineSnapshot",
    "Options",
    "Peer",
    "RestorePlan",
    "RestoreReport",
    "join",
    "open_restore",
    "save",
]


@dataclass(frozen=True, slots=True)
class Local:
    """What this machine says about its node. `keys` are the given backup keys, the first encrypts;
    `wrapping` is the key of secrets.key_file. Names and address are those of the configuration,
    None where there is none: the folder's count then."""

    data_dir: Path
    keys: Sequence[BackupKey] = ()
    wrapping: BackupKey | None = None
    node_name: str | None = None
    cluster_name: str | None = None
    address: str | None = None
    peers: Mapping[str, str] = field(default_factory=dict)  # name: address

    def all_keys(self) -> list[BackupKey]:
        """Every key that may open the folder's keyring."""
        found = [*self.keys, *([self.wrapping] if self.wrapping else [])]
        path = self.data_dir / CLUSTER_KEY
        if path.exists():
            found.append(load_key_file(path))
        return found

    def wrapping_key(self) -> BackupKey | None:
        """The key that the node will open its keyring with, as control_plane.py picks it."""
        path = self.data_dir / CLUSTER_KEY
        if self.wrapping is None and path.exists():
            return load_key_file(path)
        return self.wrapping


@dataclass(frozen=True, slots=True)
class OfflineSnapshot:
    """A snapshot of a stopped folder. `uncommitted` entries of the log follow the saved state, or
    are in it when that was asked for."""

    snapshot: Snapshot
    uncommitted: int


def save(
    local: Local,
    target: Path | str | BinaryIO,
    *,
    spool_dir: Path | None = None,
    include_uncommitted: bool = False,
    encrypted: bool = True,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> OfflineSnapshot:
    """A verified archive of a stopped folder, which is not changed. `spool_dir` is for files under
    way, by default beside the target. UsageError, Busy, Damaged, NoKey, WrongKey, FileFault."""
    started_s = time.monotonic()
    if encrypted and not local.keys:
        raise NoKey("an archive needs a backup key: give --key-file")
    _refuse_inside(target, local.data_dir)
    with closing(DataFolder.open_existing(local.data_dir)) as folder:
        stored = _stored(folder, include_uncommitted=include_uncommitted)
        view = stored.machine.view()
        saved = write_view(
            target,
            view,
            _header_of(folder, stored, (clock or SystemClock()).time_ms()),
            local.keys[0] if encrypted else None,
            keyring_of(view, local.all_keys()),
            spool_dir or _beside(target),
            overwrite=overwrite,
        )
    duration_s = time.monotonic() - started_s
    counts = counts_of(view)
    return OfflineSnapshot(
        Snapshot(saved.size_bytes, saved.sha256, view.revision, True, counts, duration_s),
        stored.uncommitted,
    )


def _refuse_inside(target: Path | str | BinaryIO, data_dir: Path) -> None:
    """UsageError for an archive in the place of a file that the node needs."""
    if not isinstance(target, str | Path):
        return
    folder, inside = Path(target).resolve().parent, data_dir.resolve()
    if folder.is_relative_to(inside) and not folder.is_relative_to(inside / "backups"):
        raise UsageError(
            f"{target} would be among the node's own files",
            hint=f"choose another folder; in the data folder only {data_dir / 'backups'} is for it",
        )


def _stored(folder: DataFolder, *, include_uncommitted: bool) -> StoredState:
    if folder.header is None:
        raise UsageError(f"{folder.path} holds no state yet", hint="check --data-dir")
    return read_stored(
        folder.generation_folder, folder.header, include_uncommitted=include_uncommitted
    )


def _header_of(folder: DataFolder, stored: StoredState, now_ms: int) -> ManifestHeader:
    header, view = folder.header, stored.machine.view()
    assert header is not None
    return ManifestHeader(
        cluster_name=folder.identity.cluster_name,
        cluster_id=header.cluster_id,
        lineage=tuple((g.number, g.restore_id) for g in header.lineage),
        epoch=view.epoch,
        revision=view.revision,
        raft_index=stored.index,
        raft_term=stored.term,
        created_ms=now_ms,
        time_ms=view.time_ms,
        node=folder.identity.node_name,
        stale=True,  # nobody confirmed that this copy is complete
    )


def _beside(target: Path | str | BinaryIO) -> Path:
    if isinstance(target, str | Path):
        return Path(target).absolute().parent
    return Path(tempfile.gettempdir())


class OfflineRestore:
    """A restore that is planned and waits for the operator's yes; the folder is locked."""

    def __init__(self, restore: Restore, plan: RestorePlan) -> None:
        self._restore = restore
        self.plan = plan

    def execute(self, step: Step = lambda _: None) -> RestoreReport:
        """Does it; RecoveryError when the plan has refusals."""
        return self._restore.execute(self.plan, step)


@contextmanager
def open_restore(
    archive_path: Path,
    local: Local,
    options: Options,
    *,
    probe: Probe,
    encrypted: bool = True,
    thorough: bool = False,
    clock: Clock | None = None,
) -> Iterator[OfflineRestore]:
    """The planned restore of an archive into a folder that is stopped, or not there yet. Leaving
    the block without `execute` changes nothing. `thorough`: see Restore.plan."""
    keys = local.all_keys()
    with ExitStack() as stack:
        folder = None
        if (local.data_dir / FILE).exists():
            folder = stack.enter_context(closing(DataFolder.open_existing(local.data_dir)))
        else:
            refuse_foreign(local.data_dir)
        archive = stack.enter_context(
            open_archive(archive_path, keys, allow_unencrypted=not encrypted)
        )
        target = _target(local, folder, archive.manifest.header, keys, stack)
        restore = Restore(
            archive,
            str(archive_path),
            target,
            keys,
            options,
            clock or SystemClock(),
            probe,
            tuple(local.peers.values()),
        )
        yield OfflineRestore(restore, restore.plan(thorough=thorough))


def _target(
    local: Local,
    folder: DataFolder | None,
    head: ManifestHeader,
    keys: Sequence[BackupKey],
    stack: ExitStack,
) -> FolderTarget:
    """Where the restore writes; a folder that it makes is closed with `stack`."""
    node_name, cluster_name = _names(local, folder, head)

    def make() -> DataFolder:
        made = DataFolder.open(local.data_dir, node_name=node_name, cluster_name=cluster_name)
        return stack.enter_context(closing(made))

    return FolderTarget(
        folder,
        make,
        node_name=node_name,
        cluster_name=cluster_name,
        address=local.address,
        wrapping=lambda: _wrapping(local, keys),
    )


def _names(local: Local, folder: DataFolder | None, head: ManifestHeader) -> tuple[str, str]:
    """Node and cluster name: the folder's, else the configuration's, else the archive's."""
    if folder is not None:
        return folder.identity.node_name, folder.identity.cluster_name
    return local.node_name or "node-1", local.cluster_name or head.cluster_name


def _wrapping(local: Local, keys: Sequence[BackupKey]) -> BackupKey:
    """The key that this node will open its keyring with. Without any it gets one of its own, as an
    embedded node does at its first start."""
    key = local.wrapping_key()
    if key is not None:
        return key
    if keys:
        return keys[0]
    return generate_key_file(local.data_dir / CLUSTER_KEY)


def join(local: Local, address: str) -> None:
    """Notes in the empty folder of a stopped node that it shall join the cluster of the member at
    `address`; its next start does. Busy, RecoveryError, UsageError."""
    if local.node_name is None or local.cluster_name is None:
        raise UsageError(
            "no server.yaml says which node this is",
            hint="write it first (cluster.name, node.name, raft.listen), then join",
        )
    folder = DataFolder.open(
        local.data_dir, node_name=local.node_name, cluster_name=local.cluster_name
    )
    with closing(folder):
        folder.join(address)
