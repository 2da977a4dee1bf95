"""An archive as a file, also from a pipe, and how it is shown: what it says without a key."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from heroctl_core.errors import UsageError
from heroctl_core.files import faults
from heroctl_core.snapshot.archive import Outline

from . import output

_NAME_MAX: Final = 500  # it also travels in the first line of a request


def refuse_data_folder(file: str) -> None:
    """UsageError for an archive in the place of a file that a node of this machine needs; it may be
    another node than the one that is asked."""
    inside = Path(file).resolve().parent
    for folder in (inside, *inside.parents):
        if (folder / "node.json").exists() and (folder / "generations").is_dir():
            if inside.is_relative_to(folder / "backups"):
                return
            raise UsageError(
                f"{file} would be among the node's own files",
                hint=f"choose another folder; in this one only {folder / 'backups'} is for it",
            )


def name_of(file: str) -> str:
    """What a receipt calls the archive: its path, as text that any program can take."""
    if file == "-":
        return "stdin"
    return os.fsencode(Path(file).absolute()).decode(errors="replace")[-_NAME_MAX:]


@contextmanager
def as_file(file: str) -> Iterator[Path]:
    """The archive as a file; what comes through a pipe is kept for as long as it is needed."""
    if file != "-":
        with faults(file):
            exists = Path(file).exists()
        if not exists:
            raise UsageError(f"{file}: no such file or directory", hint="check the path")
        yield Path(file)
        return
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal", hint="give a FILE, or a pipe before it")
    with TemporaryDirectory(prefix="heroctl-") as folder:
        path = Path(folder) / "stdin"
        with faults(path), path.open("xb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield path


def shown(outline: Outline) -> dict[str, Any]:
    """The outline as JSON; keys are stable."""
    head = outline.manifest.header
    return {
        "cluster": head.cluster_name,
        "cluster_id": head.cluster_id,
        "generation": head.lineage[-1][0] if head.lineage else 0,
        "epoch": head.epoch,
        "revision": head.revision,
        "created_at": head.created_at,
        "node": head.node,
        "stale": head.stale,
        "heroctl_version": head.heroctl_version,
        "encrypted": outline.manifest.encryption is not None,
        "key_ids": list(outline.key_ids),
        "size_bytes": outline.size_bytes,
        "sha256": outline.sha256,
        "sections": {entry.name: entry.records for entry in outline.manifest.sections},
    }


def tell(found: dict[str, Any]) -> None:
    """Prints it for people."""
    lines = {
        "cluster": f"{found['cluster']} ({found['cluster_id']})",
        "created": f"{found['created_at']} on {found['node']}",
        "revision": f"{found['revision']} of generation {found['generation']}",
        "state": "without a quorum: later writes may be missing" if found["stale"] else "complete",
        "version": f"heroctl {found['heroctl_version']}",
        "key": ", ".join(found["key_ids"]) or "none: not encrypted",
        "size": output.size(found["size_bytes"]),
        "sha256": found["sha256"],
    }
    for name, value in lines.items():
        output.line(f"{name:<9} {value}")
    output.line()
    output.table(["SECTION", "RECORDS"], list(found["sections"].items()))
