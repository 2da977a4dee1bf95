"""How many writes a second three nodes take, with fsync, 256-byte values, through ControlPlane."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any

from benchmarks.cluster import run_on_leader

from heroctl_core.control_plane import ControlPlane

VALUE = {"v": "x" * 250}
ROUNDS = 5
WINDOW = 2000


def main(as_json: bool) -> int:
    """Prints the figures; medians of ROUNDS rounds in one run."""
    figures = run_on_leader(_workload)
    if as_json:
        print(json.dumps(figures, indent=2))
        return 0
    print(f"{'pipelined, 2000 in flight':32} {figures['pipelined_per_s']:>10,.0f} commits/s")
    print(f"{'64 blocking threads':32} {figures['threads64_per_s']:>10,.0f} commits/s"
          f"   p99 {figures['threads64_p99_ms']:.1f} ms")  # fmt: skip
    print(f"{'1 blocking writer':32} {figures['single_per_s']:>10,.0f} commits/s"
          f"   p50 {figures['single_p50_ms']:.2f} ms   p99 {figures['single_p99_ms']:.2f} ms")  # fmt: skip
    return 0


def _workload(plane: ControlPlane) -> dict[str, Any]:
    _single(plane, 300)
    rounds = []
    for _ in range(ROUNDS):
        single = _single(plane, 1000)
        threads = _threads(plane, 64, 150)
        rounds.append(
            {
                "pipelined_per_s": _pipelined(plane, 30_000),
                "threads64_per_s": threads[0],
                "threads64_p99_ms": threads[1],
                "single_per_s": single[0],
                "single_p50_ms": single[1],
                "single_p99_ms": single[2],
            }
        )
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def _pipelined(plane: ControlPlane, count: int) -> float:
    waiting: deque[Future[Any]] = deque()
    started = time.perf_counter()
    for i in range(count):
        if len(waiting) >= WINDOW:
            waiting.popleft().result()
        waiting.append(plane.submit(plane.jobs.put_command(f"job-{i % 5000}", VALUE)))
    while waiting:
        waiting.popleft().result()
    return count / (time.perf_counter() - started)


def _threads(plane: ControlPlane, threads: int, count: int) -> tuple[float, float]:
    latencies: list[float] = []

    def work(number: int) -> None:
        mine = []
        for i in range(count):
            started = time.perf_counter()
            plane.jobs.put(f"job-{number}-{i % 20}", VALUE)
            mine.append(time.perf_counter() - started)
        latencies.extend(mine)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    taken = time.perf_counter() - started
    return threads * count / taken, _percentile(latencies, 0.99) * 1000


def _single(plane: ControlPlane, count: int) -> tuple[float, float, float]:
    latencies = []
    for i in range(count):
        started = time.perf_counter()
        plane.jobs.put(f"job-{i % 100}", VALUE)
        latencies.append(time.perf_counter() - started)
    p50, p99 = _percentile(latencies, 0.5) * 1000, _percentile(latencies, 0.99) * 1000
    return count / sum(latencies), p50, p99


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]
