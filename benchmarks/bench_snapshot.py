"""How long a snapshot of 100 000 jobs and 20 000 secrets takes, and how much memory beside it.

Ours: ControlPlane.snapshot.save on one real node in its own process, encrypted, compressed, synced
and read back in full; memory above the idle process, which has loaded the same rows. The other
side: `etcdctl snapshot save` of one etcd with the same keys and values, neither compressed nor
encrypted nor read back.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import etcd
from benchmarks.cluster import in_new_process, wait_until_ready
from benchmarks.filled import CLUSTER, fill_folders, job_name, job_spec, secret_name
from benchmarks.memory import peak_mb, reset_peak, resident_mb
from benchmarks.report import Line, show
from heroctl_core.codec import pack_canonical
from heroctl_core.config.model import Backup, Cluster, Config, Node
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file

JOBS, SECRETS = 100_000, 20_000
PROCESSES: Final = 3
SAVES: Final = 3  # in each process
LINES: Final = (
    Line("save_s", "save, median", "s", at_most=0.5),
    Line("first_save_s", "the first save of a process, median", "s", at_most=0.5),
    Line("extra_mb", "peak memory above the idle process, median", "MB", at_most=80),
    Line("idle_mb", "memory of the idle process", "MB"),
    Line("archive_mb", "size of the archive", "MB"),
    Line("etcd_save_s", "etcd: etcdctl snapshot save, median", "s"),
    Line("etcd_extra_mb", "etcd: peak memory of the server above idle", "MB"),
    Line("etcd_idle_mb", "etcd: memory of the idle server", "MB"),
    Line("etcd_file_mb", "etcd: size of its snapshot", "MB"),
)


def main(as_json: bool) -> int:
    """Prints the figures of both sides."""
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        figures = _ours(Path(folder))
    notes = ["ours is encrypted, compressed and read back; etcd's is none of these"]
    if etcd.program() is None:
        notes = [etcd.MISSING]
    else:
        figures |= _theirs()
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json, notes=notes)


def _ours(folder: Path) -> dict[str, float]:
    key = folder / "key"
    generate_key_file(key)
    in_new_process(_fill, folder, key)
    rounds = [in_new_process(_save, folder, key) for _ in range(PROCESSES)]
    saves = [save for times, *_ in rounds for save in times]
    return {
        "save_s": statistics.median(saves),
        "first_save_s": statistics.median(times[0] for times, *_ in rounds),
        "extra_mb": statistics.median(extra for _, extra, *_ in rounds),
        "idle_mb": statistics.median(idle for _, _, idle, _ in rounds),
        "archive_mb": rounds[0][3],
    }


def _fill(folder: Path, key: Path) -> None:
    fill_folders({"node": folder / "node"}, {"node": ""}, key, JOBS, SECRETS)


def _save(folder: Path, key: Path) -> tuple[list[float], float, float, float]:
    """Seconds of each save, megabytes above idle at the worst, idle, and of the archive."""
    config = Config(
        cluster=Cluster(name=CLUSTER),
        node=Node(name="node", data_dir=folder / "node"),
        backup=Backup(encryption_key_file=(key,)),
    )
    target = folder / "snap.tar.gz"
    times = []
    with ControlPlane.open(config, socket=True) as plane:
        wait_until_ready(plane)
        idle = resident_mb()
        reset_peak()
        for _ in range(SAVES):
            times.append(plane.snapshot.save(target, overwrite=True).duration_s)
        return times, peak_mb() - idle, idle, target.stat().st_size / 1e6


def _theirs() -> dict[str, float]:
    with etcd.running(1) as server, tempfile.TemporaryDirectory(prefix="etcd-bench-") as folder:
        connection = etcd.Connection(server.leader)
        connection.put_all(etcd_rows())
        connection.close()
        pid = next(iter(server.processes.values())).pid
        idle = resident_mb(pid)
        reset_peak(pid)
        target = Path(folder, "snap.db")
        times = [server.save_snapshot(target) for _ in range(PROCESSES * SAVES)]
        return {
            "etcd_save_s": statistics.median(times),
            "etcd_extra_mb": peak_mb(pid) - idle,
            "etcd_idle_mb": idle,
            "etcd_file_mb": target.stat().st_size / 1e6,
        }


def etcd_rows() -> Iterator[tuple[str, bytes]]:
    """Keys and values as long as our rows' names, specs and sealed values."""
    for number in range(JOBS):
        yield f"jobs/{job_name(number)}", pack_canonical(job_spec(number))
    for number in range(SECRETS):
        yield f"secrets/{secret_name(number)}", bytes(85)  # as long as a sealed one
