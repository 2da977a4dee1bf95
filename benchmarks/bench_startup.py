"""How long a user waits: for an import, for --help, for a first write, for a full node to be ready.

Whole processes where a user starts one, python's own start shown beside them. A node is ready when
it has acknowledged a write, so has everything from before; its 100 000 jobs come from a dump, or
from a log of as many commands without one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import in_new_process, wait_until_ready
from benchmarks.filled import CLUSTER, fill_folders, job_name, small_spec
from benchmarks.report import Line, show
from heroctl_core.config.model import Backup, Cluster, Config, Node
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file

ROUNDS: Final = 15
NODE_ROUNDS: Final = 5
JOBS: Final = 100_000
_WINDOW: Final = 2000
LINES: Final = (
    Line("help_ms", "heroctl --help, the whole process", "ms", at_most=150),
    Line("python_ms", "python itself (python -c pass)", "ms"),
    Line("import_ms", "import heroctl_core, in a running python", "ms"),
    Line("import_plane_ms", "from heroctl_core import ControlPlane, likewise", "ms"),
    Line("first_write_ms", "open an empty embedded node, first write", "ms"),
    Line("dump_ready_s", "a node with 100 000 jobs in a dump, first write", "s"),
    Line("log_ready_s", "a node with 100 000 jobs in its log, first write", "s"),
)


def main(as_json: bool) -> int:
    """Prints the figures: medians."""
    figures = _processes()
    with tempfile.TemporaryDirectory(prefix="heroctl-bench-") as folder:
        figures |= _nodes(Path(folder))
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json)


def _processes() -> dict[str, float]:
    """Alternating, so that a busy moment of the machine hits all of them."""
    script = Path(sys.executable).with_name("heroctl")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "heroctl_cli"]
    commands = {"help_ms": [*program, "--help"], "python_ms": [sys.executable, "-c", "pass"]}
    imports = {
        "import_ms": "import heroctl_core",
        "import_plane_ms": "from heroctl_core import ControlPlane",
    }
    found: dict[str, list[float]] = {key: [] for key in (*commands, *imports)}
    for _ in range(ROUNDS + 1):
        for key, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            found[key].append((time.perf_counter() - started) * 1000)
        for key, statement in imports.items():
            found[key].append(_import_ms(statement))
    # The first round only warms the file cache and the compiled bytecode.
    return {key: statistics.median(times[1:]) for key, times in found.items()}


def _import_ms(statement: str) -> float:
    code = f"import time; s = time.perf_counter(); {statement}; print(time.perf_counter() - s)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    return float(output) * 1000


def _nodes(folder: Path) -> dict[str, float]:
    key = folder / "key"
    generate_key_file(key)
    in_new_process(_fill_dump, folder, key)
    in_new_process(_fill_log, folder, key)
    rounds = [
        {
            "first_write_ms": in_new_process(_first_write, folder / f"empty-{number}") * 1000,
            "dump_ready_s": in_new_process(_until_ready, folder / "dump", key),
            "log_ready_s": in_new_process(_until_ready, folder / "log", key),
        }
        for number in range(NODE_ROUNDS)
    ]
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


def _fill_dump(folder: Path, key: Path) -> None:
    fill_folders({"node": folder / "dump"}, {"node": ""}, key, JOBS, small=True)


def _fill_log(folder: Path, key: Path) -> None:
    waiting: deque[Future[Any]] = deque()
    with ControlPlane.open(_config(folder / "log", key), bootstrap=True) as plane:
        wait_until_ready(plane)
        for number in range(JOBS):
            if len(waiting) >= _WINDOW:
                waiting.popleft().result()
            command = plane.jobs.put_command(job_name(number), small_spec(number))
            waiting.append(plane.submit(command))
        while waiting:
            waiting.popleft().result()
        assert plane.status().rows["jobs"] == JOBS
    dumps = list((folder / "log").glob("generations/*/dumps/*"))
    assert not dumps, "the log was cut meanwhile: this would measure something else"


def _first_write(folder: Path) -> float:
    started = time.perf_counter()
    with ControlPlane.open(data_dir=folder) as plane:
        wait_until_ready(plane)
        plane.jobs.put("first", {"image": "first"})
        return time.perf_counter() - started


def _until_ready(folder: Path, key: Path) -> float:
    started = time.perf_counter()
    with ControlPlane.open(_config(folder, key)) as plane:
        wait_until_ready(plane)
        plane.jobs.put(job_name(0), {"image": "first"})
        taken = time.perf_counter() - started
        assert plane.status().rows["jobs"] == JOBS
        return taken


def _config(data_dir: Path, key: Path) -> Config:
    return Config(
        cluster=Cluster(name=CLUSTER),
        node=Node(name="node", data_dir=data_dir),
        backup=Backup(encryption_key_file=(key,)),
    )
