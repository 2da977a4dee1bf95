"""How many writes a second three nodes take, with fsync, 256-byte values, through ControlPlane.

Two ways in: ControlPlane as an embedding service calls it, which has no network between caller and
leader, and HTTP on keep-alive connections to the leader's unix socket. `etcd` compares.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Final

from benchmarks.cluster import run_on_leader
from benchmarks.load import VALUE, Put, blocking, medians, pipelined, prefixed
from benchmarks.report import Line, show
from heroctl_core import local_socket
from heroctl_core.control_plane import ControlPlane

ROUNDS: Final = 5
PIPELINED: Final = 30_000

LINES: Final = (
    Line("pipelined_per_s", "pipelined, 2000 in flight", "commits/s", at_least=20_000),
    Line("cpu_us", "pipelined: CPU of the leader's process", "us/commit"),
    Line("clients64_per_s", "64 blocking threads", "commits/s", at_least=10_000),
    Line("clients64_p99_ms", "64 blocking threads, p99", "ms", at_most=15),
    Line("clients1_per_s", "1 blocking writer", "commits/s"),
    Line("clients1_p50_ms", "1 blocking writer, p50", "ms", at_most=0.9),
    Line("clients1_p99_ms", "1 blocking writer, p99", "ms"),
    Line("http_clients64_per_s", "HTTP, 64 threads", "commits/s"),
    Line("http_clients64_p99_ms", "HTTP, 64 threads, p99", "ms"),
    Line("http_clients1_per_s", "HTTP, 1 writer", "commits/s"),
    Line("http_clients1_p50_ms", "HTTP, 1 writer, p50", "ms"),
    Line("http_clients1_p99_ms", "HTTP, 1 writer, p99", "ms"),
)


def main(as_json: bool) -> int:
    """Prints the figures; medians of ROUNDS rounds."""
    figures = run_on_leader(_embedded, outside=http_figures)
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json)


def _embedded(plane: ControlPlane) -> dict[str, float]:
    """In the leader's process."""

    def connect() -> Put:
        return lambda name: plane.jobs.put(name, VALUE)

    blocking(connect, 1, 300)
    rounds = []
    for _ in range(ROUNDS):
        figures = blocking(connect, 1, 1000) | blocking(connect, 64, 150)
        cpu_s = time.process_time()
        figures["pipelined_per_s"] = pipelined(plane, PIPELINED)
        figures["cpu_us"] = (time.process_time() - cpu_s) / PIPELINED * 1e6
        rounds.append(figures)
    return medians(rounds)


def http_figures(path: Path) -> dict[str, float]:
    """From this process, over the unix socket `path`."""

    def connect() -> Put:
        return over_http(path)

    blocking(connect, 1, 100)
    rounds = [blocking(connect, 1, 500) | blocking(connect, 64, 50) for _ in range(ROUNDS)]
    return prefixed("http", medians(rounds))


def over_http(path: Path) -> Put:
    """Writes over a keep-alive connection of its own to a node's unix socket."""
    connection = _OverSocket(path)
    body = json.dumps({"spec": VALUE}).encode()

    def put(name: str) -> None:
        headers = {"Content-Type": "application/json"}
        connection.request("PUT", f"/v1/jobs/{name}", body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the node answers {answer.status}: {data[:200]!r}")

    return put


class _OverSocket(http.client.HTTPConnection):
    """A keep-alive HTTP connection over a node's unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock: socket.socket = local_socket.connect(self._path, 5.0)
