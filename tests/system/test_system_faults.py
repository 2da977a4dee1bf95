"""Faults on real nodes that need root: clocks, a full disk, and packets that do not arrive."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import cluster_in_namespaces

from heroctl_core.testing.faults import FaultRun
from heroctl_core.testing.faulty_cluster import FaultyCluster
from heroctl_core.testing.skewed_clock import SkewedClocks

pytestmark = pytest.mark.system

FAULTS = ("clock of leader", "full disk", "clock of one", "kill most")


def test_clocks_that_jump_and_a_full_disk_lose_nothing(tmp_path: Path) -> None:
    """The history stays linearizable, nothing acknowledged is missing; a node whose disk was full
    goes on when there is room again; a jump by a day stops nobody."""
    shown: list[str] = []
    with FaultyCluster(
        tmp_path / "cluster", size=3, election_timeout_ms=300, clocks=True, small_disk=True
    ) as cluster:
        report = FaultRun(cluster, seed=3, say=shown.append).run((kind,) for kind in FAULTS)
    assert not report.violations, "\n".join([*shown, *report.lines()])
    assert report.faults == {"clock": 2, "full disk": 1, "kill": 1}
    assert report.lost == report.unexplained == 0 < report.keys
    assert report.counts["writes acknowledged"] > 4


def test_five_nodes_over_tls_lose_no_write_when_packets_do_not_arrive(tmp_path: Path) -> None:
    """Each node has a network stack of its own: two in a minority, a leader that hears nobody, one
    that nobody hears, and a leader that is killed."""
    shown: list[str] = []
    kinds = ("partition", "leader deaf", "leader unheard", "kill leader")
    with cluster_in_namespaces(tmp_path / "cluster", size=5, election_timeout_ms=500) as cluster:
        report = FaultRun(cluster, seed=4, say=shown.append).run((kind,) for kind in kinds)
    assert not report.violations, "\n".join([*shown, *report.lines()])
    assert report.faults == {"partition": 1, "one-way": 2, "kill": 1}
    assert report.lost == report.unexplained == 0 < report.keys
    assert report.counts["writes acknowledged"] > 4


def test_a_skewed_clock_moves_while_the_process_runs(tmp_path: Path) -> None:
    """The wall clock is off by what was set last; the steady clock is not."""
    clocks = SkewedClocks(tmp_path, ["node-1"])
    look = "import time; input(); print(time.time(), time.time_ns() / 1e9, time.monotonic())"
    with subprocess.Popen(
        [sys.executable, "-c", f"{look}; {look}"],
        env=clocks.env("node-1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (3600.0, -86_400.0):
            clocks.set("node-1", seconds)
            process.stdin.write("\n")
            process.stdin.flush()
            shown, in_ns, steady = map(float, process.stdout.readline().split())
            assert abs(shown - time.time() - seconds) < 60
            assert abs(in_ns - shown) < 60
            assert abs(steady - time.monotonic()) < 60
