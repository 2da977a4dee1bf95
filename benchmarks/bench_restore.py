"""How long from `heroctl snapshot restore` of 120 000 rows to the first acknowledged write.

Whole processes: the command, then the start of the node, then one write. Into an empty folder, as
on a new machine, and into the folder of a lost cluster that still has its state, of which a safety
copy is made first. The other side: `etcdutl snapshot restore` of as many keys, the start of etcd
and one put; it has nothing to decrypt or decompress and makes no copy.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import etcd
from benchmarks.bench_snapshot import JOBS, SECRETS, etcd_rows
from benchmarks.cluster import in_new_process, wait_until_ready
from benchmarks.filled import CLUSTER, fill_folders
from benchmarks.report import Line, show
from heroctl_core.config.model import Backup, Cluster, Config, Node
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file

ROUNDS: Final = 3
NODE: Final = "node-1"
LINES: Final = (
    Line("empty_s", "into an empty folder, until the first write", "s", at_most=3),
    Line("full_s", "into a folder with its state, until the first write", "s", at_most=3),
    Line("empty_restore_s", "of it the command, empty folder", "s"),
    Line("full_restore_s", "of it the command, folder with its state", "s"),
    Line("start_s", "of it the start of the node, with Python's", "s"),
    Line("etcd_s", "etcd: restore, start and first put", "s"),
    Line("etcd_restore_s", "etcd: of it etcdutl snapshot restore", "s"),
)


def main(as_json: bool) -> int:
    """Prints the figures of both sides: medians of ROUNDS rounds."""
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        figures = _ours(Path(folder))
    notes = ["start and command count from the call of their process"]
    if etcd.program() is None:
        notes.append(etcd.MISSING)
    else:
        figures |= _theirs()
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json, notes=notes)


def _ours(folder: Path) -> dict[str, float]:
    key, full = folder / "key", folder / "full"
    generate_key_file(key)
    in_new_process(_fill_and_save, full, key, folder / "snap.tar.gz")
    rounds = []
    for number in range(ROUNDS):
        figures = _restored(folder, folder / f"empty-{number}", "empty")
        copy = folder / f"full-{number}"
        shutil.copytree(full, copy)
        figures |= _restored(
            folder, copy, "full", "--force-bootstrap", "--confirm-cluster", CLUSTER
        )
        rounds.append(figures)
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


def _restored(folder: Path, data_dir: Path, name: str, *more: str) -> dict[str, float]:
    started = time.monotonic()
    command = [
        *(sys.executable, "-m", "heroctl_cli", "snapshot", "restore", folder / "snap.tar.gz"),
        *("--data-dir", data_dir, "--key-file", folder / "key"),
        *("--yes", "--confirm-cluster", CLUSTER, *more),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    restored = time.monotonic()
    written = in_new_process(_first_write, data_dir, folder / "key")
    return {
        f"{name}_s": written - started,
        f"{name}_restore_s": restored - started,
        "start_s": written - restored,
    }


def _fill_and_save(data_dir: Path, key: Path, target: Path) -> None:
    fill_folders({NODE: data_dir}, {NODE: ""}, key, JOBS, SECRETS)
    with ControlPlane.open(_config(data_dir, key)) as plane:
        wait_until_ready(plane)
        plane.snapshot.save(target)


def _first_write(data_dir: Path, key: Path) -> float:
    """When it was acknowledged, by the clock that all processes share."""
    with ControlPlane.open(_config(data_dir, key)) as plane:
        wait_until_ready(plane)
        plane.jobs.put("first", {"image": "first"})
        written = time.monotonic()
        rows = plane.status().rows
        assert (rows["jobs"], rows["secrets"]) == (JOBS + 1, SECRETS), rows
        return written


def _config(data_dir: Path, key: Path) -> Config:
    return Config(
        cluster=Cluster(name=CLUSTER),
        node=Node(name=NODE, data_dir=data_dir),
        backup=Backup(encryption_key_file=(key,)),
    )


def _theirs() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="etcd-bench-") as name:
        folder = Path(name)
        with etcd.running(1) as server:
            connection = etcd.Connection(server.leader)
            connection.put_all(etcd_rows())
            connection.close()
            server.save_snapshot(folder / "snap.db")
        rounds = [_etcd_restored(folder, folder / f"restored-{n}") for n in range(ROUNDS)]
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


def _etcd_restored(folder: Path, data_dir: Path) -> dict[str, float]:
    server = etcd.Etcd(data_dir, 1)
    started = time.monotonic()
    server.restore(folder / "snap.db")
    restored = time.monotonic()
    try:
        server.start()
        server.wait()
        written = time.monotonic()
    finally:
        server.stop()
    return {"etcd_s": written - started, "etcd_restore_s": restored - started}
