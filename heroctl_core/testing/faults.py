"""Faults on real processes under load: python -m heroctl_core.testing.faults --minutes 30

Every few seconds something goes wrong and is taken back; clients read and write all the time. A run
is good when nothing that was acknowledged is lost, the clients' history is linearizable, revisions
never go back, each call ends by its deadline, no node stops itself, and after each fault every node
serves again. The seed decides the order of the faults, not the machine's timing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..errors import HeroctlError, NodeFault
from .call_history import CallHistory
from .call_load import CallLoad, Nodes
from .fault_kinds import ALONE, CLOCK_KINDS, DISK_KINDS, KINDS, Fault, fault
from .faulty_cluster import FaultyCluster
from .linearizability import State

RECOVERY_S: Final = 30.0  # a healed cluster serves again within this time
_POLL_S: Final = 0.05
_TOGETHER: Final = 0.25  # of the faults come with a second one
_AT_ONCE: Final = 0.3  # are followed by the next before the cluster has recovered


@dataclass(slots=True)
class Report:
    """What a run showed. Good when there is no violation."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    longest_silence_s: float = 0.0
    slowest_recovery_s: float = 0.0
    lost: int = 0
    keys: int = 0
    unexplained: int = 0
    violations: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as people read it."""
        counted = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
        faults = ", ".join(f"{n} {kind}" for kind, n in sorted(self.faults.items()))
        return [
            f"{self.seconds:.0f} s, {self.faults.total()} faults: {faults}",
            counted,
            f"longest time without an acknowledged write: {self.longest_silence_s:.1f} s",
            f"slowest return of all nodes after a fault: {self.slowest_recovery_s:.1f} s",
            f"acknowledged writes lost: {self.lost}",
            f"linearizable: {self.keys - self.unexplained} of {self.keys} histories",
            *(f"VIOLATION: {violation}" for violation in self.violations),
        ]


class FaultRun:
    """One cluster under load. `say` gets a line for each fault."""

    def __init__(self, cluster: FaultyCluster, *, seed: int, say: Callable[[str], None]) -> None:
        self.history = CallHistory()
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._say = say
        self._report = Report()
        nodes = Nodes(
            tuple(cluster.nodes),
            lambda name, patience_s: cluster.nodes[name].client(timeout_s=patience_s),
            cluster.stood_still_s,
        )
        self._load = CallLoad(nodes, self.history, seed=seed)

    def run(self, kinds: Iterable[tuple[str, ...]]) -> Report:
        """Lets the faults happen, each tuple of them at once, until one breaks a promise."""
        self._cluster.start()
        self._cluster.wait_ready()
        began_s = time.monotonic()
        self._load.start()
        try:
            for together in kinds:
                self._happen(together, began_s)
                if self.history.violations:
                    break
        finally:
            self._heal()
            self._load.stop()
        report = self._report
        report.seconds = time.monotonic() - began_s
        report.longest_silence_s = self.history.longest_silence_s(began_s)
        if not self.history.violations:
            self._judge()
        report.counts, report.violations = self.history.counts, self.history.violations
        return report

    def _happen(self, kinds: tuple[str, ...], began_s: float) -> None:
        if ALONE.intersection(kinds):  # they need every node, also after a fault without a pause
            self._until_served(time.monotonic())
        at_s = time.monotonic() - began_s
        faults = [fault(kind, self._cluster, self._rng) for kind in kinds]
        for each in faults:
            self._begin(each)
        self._hold(max(each.hold_s for each in faults))
        healed_s = time.monotonic()
        for each in faults:
            each.end()
        back = ""
        if self._rng.random() > _AT_ONCE:
            back = f", all back after {self._until_served(healed_s):.1f} s"
        words = "; ".join(each.words for each in faults)
        written = self.history.counts["writes acknowledged"]
        silence_s = self.history.longest_silence_s(began_s + at_s)
        self._say(f"[{at_s:6.1f} s] {words}: {written} writes, none for {silence_s:.1f} s{back}")

    def _begin(self, fault: Fault) -> None:
        self._report.faults[fault.kind] += 1
        try:
            fault.begin()
        except HeroctlError as error:
            self.history.broken(f"{fault.words}: {error.message}")

    def _hold(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self.history.violations:
            time.sleep(_POLL_S)
            self._notice_deaths()

    def _notice_deaths(self) -> None:
        for name in self._cluster.ended():
            self.history.broken(f"{name} ended by itself:\n{self._cluster.log_tail(name)}")

    def _until_served(self, since_s: float) -> float:
        """Waits until every node has acknowledged a write that began after `since_s`."""
        served = self.history.served_s
        while any(served.get(name, 0.0) <= since_s for name in self._cluster.nodes):
            took_s = time.monotonic() - since_s
            if took_s > RECOVERY_S:
                missing = [n for n in self._cluster.nodes if served.get(n, 0.0) <= since_s]
                self.history.broken(f"{' '.join(missing)} serves nobody {took_s:.0f} s after")
            self._notice_deaths()
            if self.history.violations:
                break
            time.sleep(_POLL_S)
        took_s = time.monotonic() - since_s
        self._report.slowest_recovery_s = max(took_s, self._report.slowest_recovery_s)
        return took_s

    def _heal(self) -> None:
        cluster = self._cluster
        cluster.network.heal()
        if cluster.disk is not None:
            cluster.disk.free()
        for name in cluster.nodes:
            cluster.resume(name)
            if cluster.clocks is not None:
                cluster.clocks.set(name, 0.0)
        cluster.start()

    def _judge(self) -> None:
        """The state at the end, which must be the same everywhere, against all that was told."""
        report, history = self._report, self.history
        try:
            self._cluster.wait_ready(timeout_s=RECOVERY_S)
            rows = self._cluster.wait(self._same_everywhere, "all nodes show the same rows")
        except NodeFault as error:
            history.broken(error.message)
            return
        report.lost = history.missing("the cluster", set(rows))
        keys = history.contended()
        report.keys, report.unexplained = len(keys), history.judge(keys, rows)

    def _same_everywhere(self) -> dict[str, State] | None:
        shown = [self._rows(name) for name in self._cluster.nodes]
        return shown[0] if all(rows == shown[0] for rows in shown) else None

    def _rows(self, name: str) -> dict[str, State]:
        """Every job that a node shows to linearizable reads."""
        rows: dict[str, State] = {}
        after: str | None = None
        with self._cluster.nodes[name].client() as client:
            while True:
                page = client.get("/v1/jobs", {"after": after}).body
                rows |= {item["name"]: item["spec"]["v"] for item in page["items"]}
                if (after := page["next"]) is None:
                    return rows


def random_kinds(
    rng: random.Random, seconds: float, choices: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Kinds of faults until the time is over."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        together = tuple(rng.sample(choices, 2 if rng.random() < _TOGETHER else 1))
        alone = [kind for kind in together if kind in ALONE]
        yield tuple(alone[:1]) or together


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every promise was kept, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description="breaks real nodes")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="how long (30)")
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3, help="how many (3)")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="order of the faults")
    given = parser.parse_args(arguments)
    seed = int.from_bytes(os.urandom(4)) if given.seed is None else given.seed
    clocks, disk = shutil.which("gcc") is not None, os.geteuid() == 0
    kinds = [*KINDS, *(CLOCK_KINDS if clocks else ()), *(DISK_KINDS if disk else ())]
    folder = Path(tempfile.mkdtemp(prefix="heroctl-faults-"))
    again = f"scripts/faults --minutes {given.minutes:g} --nodes {given.nodes} --seed {seed}"
    print(f"{again}; the nodes are in {folder}", flush=True)
    if not clocks:
        print("gcc is missing: no clock jumps", flush=True)
    if not disk:
        print("not root: no full disk", flush=True)
    with FaultyCluster(
        folder, size=given.nodes, election_timeout_ms=1000, clocks=clocks, small_disk=disk, tls=True
    ) as cluster:
        run = FaultRun(cluster, seed=seed, say=lambda line: print(line, flush=True))
        report = run.run(random_kinds(random.Random(seed), given.minutes * 60, kinds))
    print("\n".join(report.lines()), flush=True)
    if report.violations:
        (folder / "history.txt").write_text(run.history.unexplained())
        words = f"the same faults again: {again}\nnodes, their logs, history.txt: {folder}"
        print(words, file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
