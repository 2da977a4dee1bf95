"""Runs many seeds of the simulator: python -m heroctl_core.testing.simulate --seeds 500

A seed decides everything: one, three or five nodes, the log in memory or (each fifth seed) the real
one on files, every fault. A seed that breaks a promise is printed with the command that shows it
again; the exit code is then 1. With `--without guard` or `--without sync` a protection is taken
away, to see that the simulator notices. `--generations` runs restores and old nodes that come back
instead (testing/simulated_generations.py); `--without fencing` means that world.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from .invariants import Violation
from .simulated_generations import Generations
from .simulated_links import UNFENCED, Fencing
from .simulator import DEFECTS, World
from .weakened import WITHOUT, Parts

SECONDS: Final = 20.0  # simulated, with faults; then it has to calm down
VOTERS: Final = (1, 3, 5)
FENCING: Final = "fencing"  # the protection of the other world
FILES_EACH: Final = 5  # each so many-th seed runs on files


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed gave: `violation` is None when every promise was kept."""

    seed: int
    violation: str | None
    stats: Counter[str]
    digest: str
    generations: bool = False

    def command(self, without: str | None = None) -> str:
        """What shows it again."""
        weaker = f" --without {without}" if without else ""
        world = " --generations" if self.generations else ""
        return f"scripts/simulate --seeds 1 --start {self.seed}{world}{weaker}"


def run_seed(seed: int, without: str | None = None, seconds: float = SECONDS) -> Run:
    """One run; the same seed gives the same run everywhere."""
    parts = Parts() if without is None else WITHOUT[without]
    with tempfile.TemporaryDirectory(prefix="heroctl-sim-") as folder:
        files = seed % FILES_EACH == FILES_EACH - 1 and without is None
        world = World(
            seed, VOTERS[seed % len(VOTERS)], parts=parts, folder=Path(folder) if files else None
        )
        try:
            world.run(seconds)
        except DEFECTS as error:
            what = str(error) if isinstance(error, Violation) else f"a defect: {error!r}"
            violation = f"after {world.now_s:.2f} s: {what}"
            return Run(seed, violation, world.stats, world.digest())
        finally:
            world.close()
        return Run(seed, None, world.stats, world.digest())


def run_generations(seed: int, without: str | None = None) -> Run:
    """One run of three machines whose operator restores; the same everywhere."""
    with tempfile.TemporaryDirectory(prefix="heroctl-sim-") as folder:
        world = Generations(seed, Path(folder), UNFENCED if without == FENCING else Fencing())
        violation = None
        logging.disable(logging.CRITICAL)  # nodes say loudly what is all part of it here
        try:
            world.run()
        except Violation as error:
            violation = f"after {world.now_s:.2f} s: {error}"
        finally:
            logging.disable(logging.NOTSET)
            world.close()
        return Run(seed, violation, world.stats, world.digest(), generations=True)


def run_seeds(
    seeds: Iterable[int], without: str | None = None, jobs: int = 1, *, generations: bool = False
) -> Iterator[Run]:
    """The runs, in processes of their own when `jobs` is above 1, as they end."""
    run = partial(run_generations if generations else run_seed, without=without)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every seed kept every promise, else 1."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="runs the deterministic simulation of a cluster"
    )
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first (0)")
    parser.add_argument(
        "--without", choices=sorted({*WITHOUT, FENCING}), help="take a protection away"
    )
    parser.add_argument(
        "--generations", action="store_true", help="restores, and old nodes that come back"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="J", help="processes"
    )
    given = parser.parse_args(arguments)
    started_s = time.monotonic()
    stats: Counter[str] = Counter()
    failed = 0
    seeds = range(given.start, given.start + given.seeds)
    generations = given.generations or given.without == FENCING
    if generations and given.without in WITHOUT:
        parser.error(f"--without {given.without} is for the other world: leave --generations out")
    jobs = min(given.jobs, given.seeds)
    for run in run_seeds(seeds, given.without, jobs, generations=generations):
        stats.update(run.stats)
        if run.violation is not None:
            failed += 1
            print(f"seed {run.seed}: {run.violation} | {run.command(given.without)}", flush=True)
    print(f"{given.seeds} seeds, {failed} failed, {time.monotonic() - started_s:.0f} s")
    print(", ".join(f"{count} {what}" for what, count in sorted(stats.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
