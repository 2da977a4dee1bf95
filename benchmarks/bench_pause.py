"""How long writes wait while a snapshot or a log dump of a million rows is made on the leader.

Three nodes, each with a million rows of 256-byte values; eight threads of the leader's process
write without a break to rows all over the state, so that shards are copied behind the view.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import run_on_leader
from benchmarks.filled import job_name
from benchmarks.report import Line, percentile, show
from heroctl_core.control_plane import ControlPlane
from heroctl_core.limits import ROWS

JOBS: Final = ROWS - 10
ROUNDS: Final = 3
WRITERS: Final = 8
IDLE_S: Final = 5.0
VALUE: Final = {"v": "y" * 250}
LINES: Final = (
    Line("idle_p99_ms", "p99 of writes, nothing else", "ms"),
    Line("snapshot_p99_ms", "p99 of writes while a snapshot is taken", "ms", at_most=50),
    Line("dump_p99_ms", "p99 of writes while a log dump is written", "ms", at_most=50),
    Line("idle_p50_ms", "p50, nothing else", "ms"),
    Line("snapshot_p50_ms", "p50, snapshot", "ms"),
    Line("dump_p50_ms", "p50, log dump", "ms"),
    Line("idle_max_ms", "longest, nothing else", "ms"),
    Line("snapshot_max_ms", "longest, snapshot", "ms"),
    Line("dump_max_ms", "longest, log dump", "ms"),
    Line("idle_per_s", "writes, nothing else", "commits/s"),
    Line("snapshot_per_s", "writes, snapshot", "commits/s"),
    Line("dump_per_s", "writes, log dump", "commits/s"),
    Line("snapshot_s", "the snapshot takes", "s"),
    Line("dump_s", "the log dump takes", "s"),
)


def main(as_json: bool) -> int:
    """Prints the figures: medians of ROUNDS rounds."""
    figures = run_on_leader(_workload, rows=JOBS)
    notes = [f"{WRITERS} blocking writers in the leader's process; times as the writer sees them"]
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json, notes=notes)


def _workload(plane: ControlPlane) -> dict[str, Any]:
    with _Writers(plane) as writers:
        rounds = []
        for _ in range(ROUNDS):
            figures = writers.during("idle", lambda: time.sleep(IDLE_S))
            figures |= writers.during("snapshot", lambda: _save(plane))
            writers.during("idle", lambda: time.sleep(1.0))
            figures |= writers.during("dump", lambda: _dump(plane))
            rounds.append(figures)
    return {k: statistics.median(r[k] for r in rounds) for k in rounds[0] if k != "idle_s"}


def _save(plane: ControlPlane) -> None:
    target = plane.config.node.data_dir.with_name("snap.tar.gz")
    plane.snapshot.save(target, overwrite=True)


def _dump(plane: ControlPlane) -> None:
    """The engine decides itself when it writes a dump; a measurement cannot wait for that."""
    runtime = plane._runtime
    before = _newest_dump(plane)
    assert runtime.node is not None
    runtime.call(runtime.node.begin_dump).result()
    while _newest_dump(plane) == before:
        time.sleep(0.01)


def _newest_dump(plane: ControlPlane) -> tuple[Path, ...]:
    return tuple(plane.config.node.data_dir.glob("generations/*/dumps/*.dump"))


class _Writers:
    """Threads that write until the end of the `with` block; each write's start and duration."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._stopping = False
        self._times: list[list[tuple[float, float]]] = [[] for _ in range(WRITERS)]
        self._pool = ThreadPoolExecutor(WRITERS)
        self._work = [self._pool.submit(self._write, number) for number in range(WRITERS)]

    def __enter__(self) -> _Writers:
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._pool.shutdown()
        for work in self._work:
            work.result()

    def during(self, name: str, work: Callable[[], object]) -> dict[str, float]:
        """The figures of the writes that began while `work` ran."""
        started = time.perf_counter()
        work()
        ended = time.perf_counter()
        time.sleep(0.2)  # those under way end
        taken = [d for times in self._times for at, d in times if started <= at <= ended]
        return {
            f"{name}_p50_ms": percentile(taken, 0.5) * 1000,
            f"{name}_p99_ms": percentile(taken, 0.99) * 1000,
            f"{name}_max_ms": max(taken) * 1000,
            f"{name}_per_s": len(taken) / (ended - started),
            f"{name}_s": ended - started,
        }

    def _write(self, number: int) -> None:
        times = self._times[number]
        row = number
        while not self._stopping:
            row = (row + 7919 * WRITERS) % JOBS
            started = time.perf_counter()
            self._plane.jobs.put(job_name(row), VALUE)
            times.append((started, time.perf_counter() - started))
