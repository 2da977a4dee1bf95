"""How three nodes compare with three of etcd: commits, latencies, failover, a node that lags.

Both sides in one run, on the same disk, with fsync and 256-byte values, TLS between the nodes with
certificates of the same kind. Ours go through ControlPlane in the leader's process, the state
machine included; etcd's through its JSON gateway from the same Python threads. Pipelined writes
have no counterpart there: they are compared with what etcd's own `check perf --load=xl` reaches,
a Go program with 1000 clients. Ours over HTTP stand beside them: the fair comparison of the edges.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from benchmarks import bench_failover, etcd
from benchmarks.bench_commits import http_figures, over_http
from benchmarks.cluster import Serving, run_on_leader, serving
from benchmarks.load import VALUE, Put, blocking, medians, pipelined, prefixed
from benchmarks.report import Line, show
from heroctl_core.control_plane import ControlPlane

ROUNDS: Final = 5
PIPELINED: Final = 30_000
CLIENTS: Final = {1: (1000, 500), 16: (300, 150), 64: (150, 75)}  # writes of each: ours, etcd's
MISSED: Final = (16, 1000)  # clients and writes of each while a node is gone
CAUGHT_UP_S: Final = 60.0

LINES: Final = (
    Line("pipelined_per_s", "pipelined, 2000 in flight", "commits/s"),
    Line("etcd_check_perf_per_s", "etcd: check perf --load=xl", "commits/s"),
    Line("pipelined_ratio", "pipelined / etcd", "", at_least=5),
    Line("clients64_per_s", "64 clients", "commits/s"),
    Line("etcd_clients64_per_s", "etcd: 64 clients", "commits/s"),
    Line("clients64_ratio", "64 clients / etcd", "", at_least=3),
    Line("clients16_per_s", "16 clients", "commits/s"),
    Line("etcd_clients16_per_s", "etcd: 16 clients", "commits/s"),
    Line("clients16_ratio", "16 clients / etcd", "", at_least=2.5),
    Line("clients16_p99_ms", "16 clients, p99", "ms", at_most=6),
    Line("etcd_clients16_p99_ms", "etcd: 16 clients, p99", "ms"),
    Line("clients1_p50_ms", "1 client, p50", "ms"),
    Line("etcd_clients1_p50_ms", "etcd: 1 client, p50", "ms"),
    Line("clients1_p50_ratio", "1 client, p50 / etcd", "", at_most=0.75),
    Line("clients1_p99_ms", "1 client, p99", "ms"),
    Line("etcd_clients1_p99_ms", "etcd: 1 client, p99", "ms"),
    Line("http_clients64_per_s", "over HTTP, 64 clients", "commits/s"),
    Line("http_clients1_p50_ms", "over HTTP, 1 client, p50", "ms"),
    Line("lagging_s", "a node that missed 16 000 writes is level", "s"),
    Line("etcd_lagging_s", "etcd: a node that missed 16 000 writes is level", "s"),
    *(
        replace(line, key=f"failover_{line.key}", text=f"failover: {line.text.strip()}")
        for line in bench_failover.LINES
    ),
)


def main(as_json: bool) -> int:
    """Prints the figures of both sides; medians of ROUNDS rounds."""
    figures = run_on_leader(_ours, outside=http_figures, tls=True)
    with serving(3, tls=True) as nodes:
        figures["lagging_s"] = _our_lagging(nodes)
    figures |= prefixed("failover", bench_failover.measured())
    notes = ["the return of a node counts from the start of its process, Python's included"]
    if etcd.program() is None:
        notes.append(etcd.MISSING)
    else:
        figures |= _theirs()
        figures |= {
            "pipelined_ratio": figures["pipelined_per_s"] / figures["etcd_check_perf_per_s"],
            "clients1_p50_ratio": figures["clients1_p50_ms"] / figures["etcd_clients1_p50_ms"],
            "clients16_ratio": figures["clients16_per_s"] / figures["etcd_clients16_per_s"],
            "clients64_ratio": figures["clients64_per_s"] / figures["etcd_clients64_per_s"],
        }
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json, notes=notes)


def _ours(plane: ControlPlane) -> dict[str, float]:
    def connect() -> Put:
        return lambda name: plane.jobs.put(name, VALUE)

    rounds = _rounds(connect, ours=True)
    rate = statistics.median(pipelined(plane, PIPELINED) for _ in range(ROUNDS))
    return rounds | {"pipelined_per_s": rate}


def _theirs() -> dict[str, float]:
    with etcd.running(3, tls=True) as cluster:

        def connect() -> Put:
            return _over_gateway(cluster.leader)

        figures = _rounds(connect, ours=False)
        figures["lagging_s"] = _their_lagging(cluster)
        figures["check_perf_per_s"] = cluster.check_perf("xl")
    return prefixed("etcd", figures)


def _over_gateway(address: str) -> Put:
    connection = etcd.Connection(address)
    value = base64.b64encode(json.dumps(VALUE).encode()).decode()

    def put(name: str) -> None:
        key = base64.b64encode(name.encode()).decode()
        connection.post("/v3/kv/put", {"key": key, "value": value})

    return put


def _rounds(connect: Callable[[], Put], *, ours: bool) -> dict[str, float]:
    blocking(connect, 1, 200)
    rounds = []
    for _ in range(ROUNDS):
        figures: dict[str, float] = {}
        for clients, counts in CLIENTS.items():
            figures |= blocking(connect, clients, counts[0] if ours else counts[1])
        rounds.append(figures)
    return medians(rounds)


def _our_lagging(nodes: Serving) -> float:
    leader = nodes.leader()
    name = next(name for name in nodes.names if name != leader)
    nodes.kill(name)
    blocking(lambda: over_http(nodes.socket(leader)), *MISSED)
    wanted = int(nodes.status(leader)["commit_index"])
    nodes.start(name)
    return _until(lambda: int(nodes.status(name)["applied_index"]) >= wanted)


def _their_lagging(cluster: etcd.Etcd) -> float:
    name, address = next(iter(cluster.followers().items()))
    cluster.kill(name)
    blocking(lambda: _over_gateway(cluster.leader), *MISSED)
    wanted = int(etcd.Connection(cluster.leader).status()["raftAppliedIndex"])
    cluster.start(name)
    return _until(
        lambda: int(etcd.Connection(address).status().get("raftAppliedIndex", 0)) >= wanted
    )


def _until(condition: Callable[[], bool]) -> float:
    """Seconds until it is true; a node that does not answer yet is not level."""
    started = time.monotonic()
    while time.monotonic() < started + CAUGHT_UP_S:
        try:
            if condition():
                return time.monotonic() - started
        except (OSError, RuntimeError):
            pass
        time.sleep(0.01)
    raise TimeoutError(f"the node is not level after {CAUGHT_UP_S:g} s")
