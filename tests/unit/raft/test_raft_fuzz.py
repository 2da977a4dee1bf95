"""Hostile inputs, the short form of scripts/fuzz; and that nothing is ever unpickled."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

from heroctl_core.testing.hostile_inputs import Attack

ROOT = Path(__file__).parents[3]
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "marshal", "shelve", "copyreg"}

# In a process of its own: whatever would unpickle ends it.
NO_PICKLE = """
import pickle, _pickle, sys
def never(*_, **__):
    raise SystemExit("something was unpickled")
import heroctl_core.raft.engine
import pysyncobj.pickle
for module in (pickle, _pickle, pysyncobj.pickle):
    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        if hasattr(module, name):
            setattr(module, name, never)
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "").startswith("pysyncobj"):
        for name, value in list(vars(module).items()):
            if getattr(value, "__name__", "") == "loads":
                setattr(module, name, never)
sys.path.insert(0, sys.argv[1])
from heroctl_core.testing.simulator import World
world = World(seed=4, voters=3)
world.run(6.0)
applied = max(node.core.applied_index for node in world.nodes)
assert applied > 10, applied
from heroctl_core.control_plane import ControlPlane
for _ in range(2):  # the second time the log is read back
    with ControlPlane.open(data_dir=sys.argv[2]) as plane:
        plane.jobs.put("web", {"image": "shop/web:1"})
print("nothing was unpickled")
"""


def test_no_spoiled_input_does_more_than_end_its_connection() -> None:
    """Ten thousand greetings, hellos and frames, spoiled from a seed that differs each time."""
    seed = random.SystemRandom().randrange(2**32)
    attack = Attack(random.Random(seed))
    for number in range(10_000):
        try:
            attack.strike()
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}") from error
    assert attack.outcomes["cut off"] > 5_000
    assert attack.outcomes["taken"] > 0, "no frame of a peer came as far as the engine"
    assert attack.outcomes["met: peer"] > 0, "no hello came as far as the judgement"


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """Neither what a peer sends nor our own log: with every way to unpickle gone, a cluster elects,
    replicates and installs, and a node reads its log back."""
    command = [sys.executable, "-c", NO_PICKLE, str(ROOT), str(tmp_path / "data")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "nothing was unpickled" in ended.stdout, ended.stdout + ended.stderr


def test_no_module_of_ours_can_unpickle() -> None:
    """None imports what could, or asks for it by name."""
    for path in (*ROOT.glob("heroctl_core/**/*.py"), *ROOT.glob("heroctl_cli/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {"pickle"} if node.func.id == "__import__" else set()
            parts = {part for name in names for part in name.split(".")}
            assert not parts & PICKLING, f"{path}:{getattr(node, 'lineno', 0)}"
