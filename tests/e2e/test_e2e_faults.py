"""Real node processes under load, to which the worst happens; scripts/faults is the long form."""

from __future__ import annotations

from pathlib import Path

from heroctl_core.testing.faults import FaultRun
from heroctl_core.testing.faulty_cluster import FaultyCluster

FAULTS = ("kill leader", "pause leader", "isolate leader", "leader deaf", "slow network")


def test_nothing_acknowledged_is_lost_whatever_happens(tmp_path: Path) -> None:
    """SIGKILL, SIGSTOP for five seconds, a partition, a one-way partition and delay: the history of
    six clients is linearizable, no acknowledged write is missing, revisions never go back, each
    call ends by its deadline, and after each fault every node serves again."""
    shown: list[str] = []
    with FaultyCluster(tmp_path / "cluster", size=3, election_timeout_ms=300, tls=True) as cluster:
        report = FaultRun(cluster, seed=7, say=shown.append).run((kind,) for kind in FAULTS)
    assert not report.violations, "\n".join([*shown, *report.lines()])
    assert report.faults == {"kill": 1, "pause": 1, "partition": 1, "one-way": 1, "delay": 1}
    assert report.lost == report.unexplained == 0 < report.keys
    assert report.counts["writes acknowledged"] > len(FAULTS)
    assert report.counts["reads answered"] > len(FAULTS)
