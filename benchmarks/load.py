"""Writers and what they measure: blocking ones in threads, pipelined ones with futures."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from benchmarks.report import percentile
from heroctl_core.control_plane import ControlPlane

VALUE: Final = {"v": "x" * 250}
WINDOW: Final = 2000
Put = Callable[[str], object]


def blocking(
    connect: Callable[[], Put],
    clients: int,
    count: int,
    *,
    name: Callable[[int], str] = "job-{}".format,
) -> dict[str, float]:
    """Commits a second and latencies of so many threads, each with `count` writes one by one and
    a connection of its own, to 20 names of its own."""

    def work(number: int) -> list[float]:
        put = connect()
        latencies = []
        for i in range(count):
            started = time.perf_counter()
            put(name(20 * number + i % 20))
            latencies.append(time.perf_counter() - started)
        return latencies

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        latencies = [d for mine in pool.map(work, range(clients)) for d in mine]
        taken = time.perf_counter() - started
    return {
        f"clients{clients}_per_s": clients * count / taken,
        f"clients{clients}_p50_ms": percentile(latencies, 0.5) * 1000,
        f"clients{clients}_p99_ms": percentile(latencies, 0.99) * 1000,
    }


def pipelined(
    plane: ControlPlane,
    count: int,
    *,
    value: Mapping[str, Any] = VALUE,
    window: int = WINDOW,
    name: Callable[[int], str] = "job-{}".format,
) -> float:
    """Commits a second with so many futures in flight, over 5000 names."""
    waiting: deque[Future[Any]] = deque()
    started = time.perf_counter()
    for i in range(count):
        if len(waiting) >= window:
            waiting.popleft().result()
        waiting.append(plane.submit(plane.jobs.put_command(name(i % 5000), value)))
    while waiting:
        waiting.popleft().result()
    return count / (time.perf_counter() - started)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def prefixed(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    """The same figures under longer names."""
    return {f"{prefix}_{key}": value for key, value in figures.items()}
