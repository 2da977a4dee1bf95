"""Restores, old nodes that come back, partitions and kills in one simulated cluster: seeds that
must hold, and seeds that must not when nobody is fenced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from heroctl_core.testing.simulate import FENCING, main, run_generations, run_seeds
from heroctl_core.testing.simulated_generations import Generations
from heroctl_core.testing.simulated_member import Member

SEEDS = 10
# What each once showed:
RECORDED = {
    22: "two confirmed forks, and no way to give one of them up",
    192: "a node that only asked to join said that it had a quorum, so no restore was allowed",
    264: "an archive newer than the folder: the child was confirmed by voters of a grandparent",
}


@pytest.mark.parametrize("seed", [*range(SEEDS), *RECORDED])
def test_generations_keep_every_promise(seed: int) -> None:
    """No parent commits after its child is confirmed, nothing acknowledged is lost, and all come
    together, with an operator where the nodes say that they need one."""
    run = run_generations(seed)
    assert run.violation is None, run.command()


def test_a_scratch_restore_leaves_leader_and_term_of_a_healthy_cluster(tmp_path: Path) -> None:
    """A fourth machine restores where it reaches nobody; when the network is whole it is contested,
    and the three go on as if it were not there."""
    world = Generations(1, tmp_path)
    world.calm = True
    for member in world.members.values():
        world.boot(member)
    assert world.until(lambda: world.checks.converged(world.up), 20.0)
    three = list(world.up)
    world.operator.save()
    scratch = world.members["n4"] = Member(world, "n4", tmp_path / "n4")
    world.links.cut |= {w for m in three for w in ((m.name, "n4"), ("n4", m.name))}
    terms = [m.node.core.term for m in three if m.node is not None]
    world.operator.restore(scratch)
    assert world.until(lambda: scratch.node is not None and scratch.node.leading, 10.0)
    world.links.heal()
    assert world.until(lambda: scratch.running.contested, 10.0)
    world.until(lambda: False, 40.0)
    assert [m.node.core.term for m in three if m.node is not None] == terms
    assert world.until(lambda: world.checks.converged(three), 1.0)  # an entry may be under way
    world.close()


def test_what_is_to_be_survived_really_happens() -> None:
    """Seeds in which nobody restores would prove nothing."""
    stats: Counter[str] = Counter()
    for run in run_seeds(range(6), generations=True):
        stats.update(run.stats)
    least = {
        "acknowledged": 300,
        "boots": 30,
        "crashes": 10,
        "decisions of an operator": 2,
        "disks lost": 1,
        "kills inside a step": 2,
        "partitions": 30,
        "restores": 8,
        "restores refused": 3,
        "snapshots": 10,
    }
    assert not {what: stats[what] for what, count in least.items() if stats[what] < count}


def test_without_fencing_it_is_noticed() -> None:
    """Nodes of two generations take each other for peers: committed entries differ."""
    violations = [run.violation or "" for run in run_seeds(range(4), FENCING, generations=True)]
    assert sum("committed" in violation for violation in violations) >= 2


def test_a_seed_of_generations_is_one_history_in_every_process() -> None:
    """Although folders are real: ids come from the seed."""
    program = (
        "from heroctl_core.testing.simulate import run_generations; "
        "print(run_generations(1).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_command_repeats_a_failure_of_fencing(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the whole command; a protection of the other world is refused."""
    broken = next(r for r in run_seeds(range(4), FENCING, generations=True) if r.violation)
    arguments = ["--seeds", "1", "--start", str(broken.seed), "--jobs", "1"]
    assert main([*arguments, "--without", FENCING]) == 1
    assert capsys.readouterr().out.splitlines()[0].endswith(f"| {broken.command(FENCING)}")
    assert main([*arguments, "--generations"]) == 0
    with pytest.raises(SystemExit):
        main([*arguments, "--generations", "--without", "sync"])
