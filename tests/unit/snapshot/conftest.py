"""A small cluster's rows, and how to save them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heroctl_core.codec import pack
from heroctl_core.crypto.keys import BackupKey, generate_key_file
from heroctl_core.snapshot.archive import Saved, Section, write_archive
from heroctl_core.snapshot.manifest import ManifestHeader
from heroctl_core.state.tables import Table

KINDS = ("keyring", "jobs", "secrets", "acl", "ingress", "nodes", "metrics")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A folder with a spool and a key, and rows to save."""

    folder: Path
    key: BackupKey
    tables: dict[str, Table]

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def target(self) -> Path:
        return self.folder / "snap.tar.gz"

    def sections(self) -> list[Section]:
        """As the caller of a save makes them from a view."""
        views = [(name, table.view()) for name, table in self.tables.items()]
        return [Section(name, 1, v.items(), v.count, v.fingerprint) for name, v in views]

    def rows(self, kind: str) -> list[tuple[str, bytes]]:
        return list(self.tables[kind].view().items())

    def save(self, target: Any = None, **options: Any) -> Saved:
        """A save with the workshop's key, unless the options say otherwise."""
        settings = {"sections": self.sections(), "header": header(), "key": self.key, **options}
        return write_archive(target or self.target, spool_dir=self.spool, **settings)


def header(**changes: Any) -> ManifestHeader:
    """The header of a save."""
    fields = {
        "cluster_name": "prod",
        "cluster_id": "c" * 32,
        "lineage": ((1, "ab"),),
        "epoch": 1,
        "revision": 41,
        "raft_index": 57,
        "raft_term": 3,
        "created_ms": 1_777_172_400_999,
        "time_ms": 1_777_172_398_766,
        "node": "node-1",
    }
    return ManifestHeader(**(fields | changes))


@pytest.fixture
def make_header() -> Callable[..., ManifestHeader]:
    """Makes headers."""
    return header


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Two hundred jobs and a few of everything else; no nodes."""
    tables = {kind: Table(kind) for kind in KINDS}
    for i in range(200):
        tables["jobs"].put(f"job-{i}", pack({"spec": {"image": f"shop/web:{i}"}}))
    for kind in ("keyring", "secrets", "acl", "ingress", "metrics"):
        tables[kind].put(f"{kind}/one", pack({"value": kind}))
    (tmp_path / "spool").mkdir()
    return Workshop(tmp_path, generate_key_file(tmp_path / "backup.key"), tables)
