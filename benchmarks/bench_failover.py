"""How long it takes from the end of the leader until another node acknowledges a write.

The leader of three nodes is ended with SIGKILL; writers try the two others in turn, each try for a
tenth of a second. etcd runs the same with the same election timeout, TLS between the nodes on both
sides. Last, a leader transfer by command, ours only.
"""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

from benchmarks import etcd
from benchmarks.cluster import Serving, serving
from benchmarks.report import Line, show
from heroctl_core.client import Client
from heroctl_core.errors import HeroctlError

_ROUNDS: Final = 7
_TRY_S: Final = 0.1
_MOST_S: Final = 60.0
_TIMEOUTS_MS: Final = (1000, 300)

LINES: Final = (
    Line("ours_1000_s", "election timeout 1000 ms", "s"),
    Line("ours_1000_worst_s", "  the longest of all", "s"),
    Line("etcd_1000_s", "  etcd", "s"),
    Line("ratio_1000", "  ratio to etcd", "", at_most=1.0),
    Line("ours_300_s", "election timeout 300 ms", "s", at_most=0.6),
    Line("ours_300_worst_s", "  the longest of all", "s"),
    Line("etcd_300_s", "  etcd", "s"),
    Line("ratio_300", "  ratio to etcd", "", at_most=1.0),
    Line("transfer_s", "leader transfer by command, over HTTP", "s"),
)


def main(*, as_json: bool) -> int:
    notes = [] if etcd.program() else [etcd.MISSING]
    return show(__doc__.partition("\n")[0], LINES, measured(), as_json=as_json, notes=notes)


def measured() -> dict[str, float]:
    """The figures of both sides; ours alone without etcd."""
    figures: dict[str, float] = {}
    for election_ms in _TIMEOUTS_MS:
        with serving(3, tls=True, election_ms=election_ms) as nodes:
            ours = [_ours(nodes) for _ in range(_ROUNDS)]
            figures["transfer_s"] = median(_transfer(nodes) for _ in range(_ROUNDS))
        figures[f"ours_{election_ms}_s"] = median(ours)
        figures[f"ours_{election_ms}_worst_s"] = max(ours)
        if etcd.program() is None:
            continue
        with etcd.running(3, tls=True, election_ms=election_ms) as others:
            theirs = median(_theirs(others) for _ in range(_ROUNDS))
        figures[f"etcd_{election_ms}_s"] = theirs
        figures[f"ratio_{election_ms}"] = median(ours) / theirs
    return figures


def _ours(nodes: Serving) -> float:
    """Seconds of one failover; all nodes run again afterwards."""
    old = nodes.leader()
    targets = [f"unix:{nodes.socket(name)}" for name in nodes.names if name != old]
    nodes.kill(old)
    took_s = _until_written(lambda number: _write(targets[number % 2]))
    nodes.start(old)
    nodes.leader()
    time.sleep(1.0)  # it catches up
    return took_s


def _write(target: str) -> None:
    body = {"spec": {"value": "x" * 256}}
    with Client(target, timeout_s=_TRY_S) as client:
        client.write("PUT", "/v1/jobs/failover", body, retry=False)


def _transfer(nodes: Serving) -> float:
    """Seconds of one leader transfer, as the operator waits for it."""
    follower = next(name for name in nodes.names if name != nodes.leader())
    with Client(f"unix:{nodes.socket(follower)}") as client:
        started = time.perf_counter()
        client.write("POST", "/v1/cluster/transfer-leader", {"to": follower}, retry=False)
        took_s = time.perf_counter() - started
    nodes.leader()
    return took_s


def _theirs(others: etcd.Etcd) -> float:
    old, addresses = others.leader_name(), list(others.followers().values())
    others.kill(old)
    took_s = _until_written(lambda number: _put(addresses[number % 2]))
    others.start(old)
    time.sleep(1.0)
    others.wait()
    return took_s


def _put(address: str) -> None:
    connection = etcd.Connection(address, _TRY_S)
    try:
        connection.put("failover", b"x" * 256)
    finally:
        connection.close()


def _until_written(write: Callable[[int], Any]) -> float:
    """Seconds until a try succeeds."""
    started = time.perf_counter()
    for number in _tries(started):
        try:
            write(number)
        except (HeroctlError, OSError, http.client.HTTPException, RuntimeError):
            continue
        return time.perf_counter() - started
    raise TimeoutError(f"nobody took a write within {_MOST_S:g} s")


def _tries(started: float) -> Iterator[int]:
    for number in itertools.count():
        if time.perf_counter() - started > _MOST_S:
            return
        yield number
        time.sleep(0.002)
