"""How many writes a second three nodes take, with fsync, 256-byte values, through ControlPlane.

Compared with etcd are two ways in: the same Python threads over HTTP and JSON on keep-alive
connections to the leader (a unix socket of ours, etcd's JSON gateway), and ControlPlane as an
embedding service calls it, which has no network between caller and leader. Pipelined writes have
no counterpart: the gateway has one request in flight on each connection.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks import etcd
from benchmarks.cluster import run_on_leader
from benchmarks.report import Line, percentile, show
from heroctl_core import local_socket
from heroctl_core.control_plane import ControlPlane

VALUE: Final = {"v": "x" * 250}
ROUNDS: Final = 5
WINDOW: Final = 2000
THREADS: Final = 64
Put = Callable[[str], object]

LINES: Final = (
    Line("pipelined_per_s", "pipelined, 2000 in flight", "commits/s", at_least=20_000),
    Line("threads64_per_s", "64 blocking threads", "commits/s", at_least=10_000),
    Line("threads64_p99_ms", "64 blocking threads, p99", "ms", at_most=15),
    Line("single_per_s", "1 blocking writer", "commits/s"),
    Line("single_p50_ms", "1 blocking writer, p50", "ms", at_most=0.9),
    Line("single_p99_ms", "1 blocking writer, p99", "ms"),
    Line("http_threads64_per_s", "HTTP, 64 threads", "commits/s"),
    Line("http_threads64_p99_ms", "HTTP, 64 threads, p99", "ms"),
    Line("http_single_per_s", "HTTP, 1 writer", "commits/s"),
    Line("http_single_p50_ms", "HTTP, 1 writer, p50", "ms"),
    Line("http_single_p99_ms", "HTTP, 1 writer, p99", "ms"),
    Line("etcd_threads64_per_s", "etcd over HTTP, 64 threads", "commits/s"),
    Line("etcd_threads64_p99_ms", "etcd over HTTP, 64 threads, p99", "ms"),
    Line("etcd_single_per_s", "etcd over HTTP, 1 writer", "commits/s"),
    Line("etcd_single_p50_ms", "etcd over HTTP, 1 writer, p50", "ms"),
    Line("etcd_single_p99_ms", "etcd over HTTP, 1 writer, p99", "ms"),
)
NOTES: Final = (
    "compare HTTP with etcd over HTTP: the same Python client, one request for each connection",
    "pipelined is not compared: etcd's JSON gateway cannot do it",
)


def main(as_json: bool) -> int:
    """Prints the figures; medians of ROUNDS rounds of both sides in one run."""
    figures = run_on_leader(_embedded, outside=_over_http)
    notes = list(NOTES)
    if etcd.program() is None:
        notes = [etcd.MISSING]
    else:
        figures |= _etcd()
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json, notes=notes)


def _embedded(plane: ControlPlane) -> dict[str, float]:
    """In the leader's process."""

    def connect() -> Put:
        return lambda name: plane.jobs.put(name, VALUE)

    _single(connect, 300)
    rounds = []
    for _ in range(ROUNDS):
        figures = _single(connect, 1000) | _threads(connect, 150)
        rounds.append(figures | {"pipelined_per_s": _pipelined(plane, 30_000)})
    return _medians(rounds)


def _over_http(path: Path) -> dict[str, float]:
    """From this process, over the leader's unix socket."""
    body = json.dumps({"spec": VALUE}).encode()

    def connect() -> Put:
        connection = _OverSocket(path)

        def put(name: str) -> None:
            headers = {"Content-Type": "application/json"}
            connection.request("PUT", f"/v1/jobs/{name}", body, headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the node answers {answer.status}: {data[:200]!r}")

        return put

    return _prefixed("http", _http_rounds(connect))


def _etcd() -> dict[str, float]:
    value = base64.b64encode(json.dumps(VALUE).encode()).decode()

    with etcd.running(3) as cluster:

        def connect() -> Put:
            connection = etcd.Connection(cluster.leader)

            def put(name: str) -> None:
                key = base64.b64encode(name.encode()).decode()
                connection.post("/v3/kv/put", {"key": key, "value": value})

            return put

        return _prefixed("etcd", _http_rounds(connect))


def _http_rounds(connect: Callable[[], Put]) -> dict[str, float]:
    _single(connect, 100)
    return _medians([_single(connect, 500) | _threads(connect, 50) for _ in range(ROUNDS)])


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


def _threads(connect: Callable[[], Put], count: int) -> dict[str, float]:
    def work(number: int) -> list[float]:
        put = connect()
        latencies = []
        for i in range(count):
            started = time.perf_counter()
            put(f"job-{number}-{i % 20}")
            latencies.append(time.perf_counter() - started)
        return latencies

    with ThreadPoolExecutor(THREADS) as pool:
        started = time.perf_counter()
        latencies = [d for mine in pool.map(work, range(THREADS)) for d in mine]
        taken = time.perf_counter() - started
    return {
        "threads64_per_s": THREADS * count / taken,
        "threads64_p99_ms": percentile(latencies, 0.99) * 1000,
    }


def _single(connect: Callable[[], Put], count: int) -> dict[str, float]:
    put = connect()
    latencies = []
    for i in range(count):
        started = time.perf_counter()
        put(f"job-{i % 100}")
        latencies.append(time.perf_counter() - started)
    return {
        "single_per_s": count / sum(latencies),
        "single_p50_ms": percentile(latencies, 0.5) * 1000,
        "single_p99_ms": percentile(latencies, 0.99) * 1000,
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def _prefixed(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{key}": value for key, value in figures.items()}


class _OverSocket(http.client.HTTPConnection):
    """A keep-alive HTTP connection over a node's unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock: socket.socket = local_socket.connect(self._path, 5.0)
