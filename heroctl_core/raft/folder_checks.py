"""What is checked before a data folder is used, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .. import files
from ..config.model import split_address
from ..errors import Damaged, RecoveryError, UnsupportedVersion, UsageError
from . import header as headers
from .handshake import is_restore_id
from .header import Header, header_from
from .identity import FILE
from .json_file import read_json

RECEIPT: Final = "receipt.json"
FOLDERS: Final = ("generations", "quarantine", "backups", "spool")
_MARKS: Final = (
    *("left", "frozen", "suspect", "contested", "confirmed", "parent_left"),
    *("join", "removed"),
)
_KNOWN: Final = {
    *("lock", FILE, "CURRENT", RECEIPT, "cluster.key", "token"),
    *("heroctl.sock", "lost+found"),
    *FOLDERS,
    *(f"{name}.json" for name in _MARKS),
}


def make_folder(path: Path) -> None:
    """Makes the data folder where there is none, durable with its parents."""
    if path.exists():
        return
    missing = path
    with files.faults(path):
        path.mkdir(mode=0o700, parents=True)
    while missing != missing.parent:
        missing = missing.parent
        if os.access(missing, os.R_OK):
            files.fsync_dir(missing)


def refuse_foreign(path: Path) -> None:
    """A folder with other people's files is no place for ours, nor is what is no folder."""
    with files.faults(path):
        if not os.path.lexists(path) or (path / FILE).exists():
            return
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", hint="check node.data_dir")
        names = sorted(p.name for p in path.iterdir())
    foreign = [name for name in names if name.removesuffix(".partial") not in _KNOWN]
    if foreign:
        raise UsageError(
            f"{path} is not empty and no data folder of HeroCtl: it holds {foreign[0]}",
            hint="give node.data_dir an empty folder",
        )


def refuse_orphans(path: Path) -> None:
    """Without node.json nobody knows whose data this is: never a new member beside it."""
    if any(p.exists() for p in (path / "CURRENT", *(path / "generations").glob("*"))):
        raise Damaged(
            f"{path / FILE} is missing, but the folder holds a generation",
            hint="put the file back from a backup, or move the data folder away and let this "
            "node join as a new member",
        )


def read_current(file: Path) -> str:
    """The folder name in CURRENT; it names a folder beside it and nothing else."""
    with files.faults(file):
        name = file.read_bytes()[:200].decode(errors="replace").strip()
    number, _, restore_id = name.partition("-")
    if not (number.isascii() and number.isdigit() and is_restore_id(restore_id)):
        raise Damaged(
            f"{file} does not hold the name of a generation: {name!r}",
            hint=f"write the name of the newest folder in {file.parent / 'generations'} into it",
        )
    return name


def read_receipt(path: Path) -> dict[str, Any]:
    """What the last restore into a data folder noted; empty without one."""
    file = path / RECEIPT
    way_out = f"move {file} away: the restored generation has a copy, and the next start writes it"
    return read_json(file, way_out=way_out) if file.exists() else {}


def read_header(file: Path) -> Header:
    value = read_json(file) if file.exists() else None
    if value is None:
        raise Damaged(f"{file} is missing", hint="restore a snapshot, or rejoin as a new member")
    number = value.get("format")
    if type(number) is int and number > headers.FORMAT:
        raise UnsupportedVersion(
            f"{file} has format {number}, this release reads up to {headers.FORMAT}",
            hint="install the release that wrote it, or a newer one",
        )
    try:
        return header_from(value)
    except ValueError as error:
        raise Damaged(f"{file}: {error}") from error


def refuse_join(path: Path, header: Header | None, address: str) -> None:
    """UsageError for an address that is none, RecoveryError for a folder that has a cluster."""
    try:
        split_address(address)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if header is not None:
        raise RecoveryError(
            f"{path} belongs to cluster {header.cluster_name} already",
            hint="remove this node there (heroctl cluster remove), move the folder away, and join "
            "with an empty one",
        )


def refuse_removed(path: Path, cluster_name: str, removed: Mapping[str, Any] | None) -> None:
    """RecoveryError for the folder of a member that was removed from its cluster."""
    if removed is not None:
        raise RecoveryError(
            f"this node was removed from cluster {cluster_name} at log index "
            f"{removed.get('index')}",
            hint=f"to let it join as a new member, move {path} away and start it again",
        )
