"""Tortures the log and the dumps of a node: kills, failing system calls, damage. `scripts/torture`.

Each round ends with a look at what is left, as at a start: everything that was acknowledged is
there, or the folder is refused with an error that says why and what to do. Anything else is an
AssertionError.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from ..control_plane import ControlPlane
from ..errors import HeroctlError
from ..raft.folder import DataFolder
from ..raft.header import Header
from ..raft.stored import read_stored
from .torture_writer import SLOTS

_CALLS: Final = ("write", "pwrite", "fsync", "fdatasync", "posix_fallocate", "rename", "replace")
_FAULTS: Final = (  # (name, error, does it stay?)
    ("EIO", errno.EIO, False),
    ("ENOSPC", errno.ENOSPC, False),
    ("a disk that stays full", errno.ENOSPC, True),
)
_DUMPED_S: Final = 10.0


# -- kills


def kill_rounds(folder: Path, rounds: int, chance: random.Random) -> Counter[str]:
    """Kills a writing node again and again, anywhere between its start and some seconds of load."""
    seen: Counter[str] = Counter()
    acknowledged: dict[int, int] = {}  # thread: the newest number
    for _ in range(rounds):
        lines = _run_and_kill(folder, chance.random(), opened=chance.random() < 0.8)
        seen["kills"] += 1
        if not lines:
            seen["before it had opened"] += 1
            continue
        _check_found(json.loads(lines[0]), acknowledged)
        for line in lines[1:]:
            thread, number = map(int, line.split())
            acknowledged[thread] = max(number, acknowledged.get(thread, 0))
            seen["acknowledged writes"] += 1
    return seen


def _run_and_kill(folder: Path, after_s: float, *, opened: bool) -> list[str]:
    """The whole lines that the writer said before it was killed, `after_s` seconds after its start,
    or after it had opened its folder."""
    command = [sys.executable, "-m", "heroctl_core.testing.torture_writer", str(folder)]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline() if opened else b""
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
        else:
            words.seek(0)
            raise AssertionError(f"the node stopped itself: {words.read().decode()}")
        said += process.stdout.read()
    return [line.decode() for line in said.splitlines(keepends=True) if line.endswith(b"\n")]


def _check_found(found: list[list[int]], acknowledged: dict[int, int]) -> None:
    """What is in each slot is what was acknowledged last there, or newer."""
    there = {(thread, slot): number for thread, slot, number in found}
    for thread, newest in acknowledged.items():
        for number in range(max(1, newest - SLOTS + 1), newest + 1):
            held = there.get((thread, number % SLOTS), 0)
            assert held >= number, f"write {number} of thread {thread} is lost, {held} is there"


# -- failing system calls


class FailingCalls:
    """Counts the calls that write or sync, and makes one of them fail, or all from it on."""

    def __init__(self, at: int | None, error: int, *, stays: bool) -> None:
        self.count = 0
        self._at = at
        self._error = error
        self._stays = stays
        self._lock = threading.Lock()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            with self._lock:
                number, self.count = self.count, self.count + 1
            if self._at is not None and (number >= self._at if self._stays else number == self._at):
                raise OSError(self._error, os.strerror(self._error))
            return call(*arguments, **more)

        return counted


@contextmanager
def failing(at: int | None, error: int = 0, *, stays: bool = False) -> Iterator[FailingCalls]:
    """The calls of this process fail inside; None: they are only counted."""
    calls = FailingCalls(at, error, stays=stays)
    originals = {name: getattr(os, name) for name in _CALLS}
    for name, original in originals.items():
        setattr(os, name, calls.wrap(original))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def fail_calls(folder: Path, *, start: int = 0, step: int = 1) -> Counter[str]:
    """Lets every `step`-th call of a node's life fail, in each way, and opens its folder again."""
    seen: Counter[str] = Counter()
    with failing(None) as calls:
        live(folder / "count")
    for at in range(start, calls.count, step):
        for name, error, stays in _FAULTS:
            there = folder / f"{at}-{error}-{stays}"
            with failing(at, error, stays=stays):
                acknowledged = live(there)
            (there / "suspect.json").unlink(missing_ok=True)  # as a reboot would
            with ControlPlane.open(data_dir=there) as plane:
                left = {job.name for job in plane.jobs.list()}
            lost = set(acknowledged) - left
            assert not lost, f"call {at} failed with {name}: {sorted(lost)} lost"
            seen[f"calls that failed with {name}"] += 1
            seen["acknowledged writes"] += len(acknowledged)
    return seen


def live(folder: Path, jobs: int = 12) -> list[str]:
    """A node's life with a dump in the middle: the names that were acknowledged."""
    acknowledged: list[str] = []

    def put(plane: ControlPlane, names: range) -> None:
        for number in names:
            plane.jobs.put(f"job-{number}", {"number": number})
            acknowledged.append(f"job-{number}")

    try:
        plane = ControlPlane.open(data_dir=folder)
    except HeroctlError:
        return acknowledged
    try:
        put(plane, range(jobs))
        _dump(plane)
        put(plane, range(jobs, jobs * 3 // 2))
    except HeroctlError as error:
        assert str(error), "an error without words"
    finally:
        plane.close()
    return acknowledged


def _dump(plane: ControlPlane) -> None:
    """Makes the node dump its state; returns when that is done or has failed."""
    node = plane._runtime.node
    assert node is not None
    plane._runtime.call(node.begin_dump).result()
    until_s = time.monotonic() + _DUMPED_S
    while node.compaction.dumps.busy and plane.fault is None:
        assert time.monotonic() < until_s, "the dump never ends"
        time.sleep(0.002)


# -- damage


def damage(folder: Path, places: int, chance: random.Random) -> Counter[str]:
    """Flips bits and cuts files of a stopped node, one at a time, at `places` places each."""
    acknowledged = live(folder, 60)
    with closing(DataFolder.open_existing(folder)) as data:
        header, generation = data.header, data.generation_folder
    assert header is not None
    seen: Counter[str] = Counter()
    files = sorted([*(generation / "log").iterdir(), *(generation / "dumps").iterdir()])
    for path in files:
        whole = path.read_bytes()
        used = len(whole.rstrip(b"\0")) + 64
        for _ in range(places):
            at, bit = chance.randrange(min(used, len(whole))), chance.randrange(8)
            flipped = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            for changed in (flipped, whole[:at]):
                path.write_bytes(changed)
                seen[_look(generation, header, acknowledged, f"{path.name} at {at}")] += 1
        path.unlink()
        assert _look(generation, header, acknowledged, path.name) == "refused"
        path.write_bytes(whole)
    assert _look(generation, header, acknowledged, "as it was") == "taken whole"
    return seen


def _look(generation: Path, header: Header, acknowledged: list[str], what: str) -> str:
    """Whether the state was taken with all that was acknowledged, or refused with reason."""
    try:
        machine = read_stored(generation, header, include_uncommitted=False).machine
    except HeroctlError as error:
        assert error.message and error.hint, f"{what}: refused without a way out: {error}"
        return "refused"
    lost = [name for name in acknowledged if machine.get("jobs", name) is None]
    assert not lost, f"{what} was damaged: {lost} lost in silence"
    return "taken whole"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing was lost; an AssertionError names what was."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, metavar="N", help="how many (500)")
    parser.add_argument("--places", type=int, default=2000, metavar="N", help="in each file (2000)")
    parser.add_argument("--step", type=int, default=1, metavar="N", help="every Nth call fails (1)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the random places (1)")
    given = parser.parse_args(arguments)
    chance = random.Random(given.seed)
    logging.disable(logging.CRITICAL)  # each fault is told there
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Counter[str]]] = {
            "damage": lambda: damage(folder / "damage", given.places, chance),
            "failing calls": lambda: fail_calls(folder / "calls", step=given.step),
            "kills": lambda: kill_rounds(folder / "kills", given.kills, chance),
        }
        for part, run in parts.items():
            began_s = time.monotonic()
            counted = ", ".join(f"{count} {what}" for what, count in sorted(run().items()))
            print(
                f"{part}: {counted}; nothing lost; {time.monotonic() - began_s:.0f} s", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
