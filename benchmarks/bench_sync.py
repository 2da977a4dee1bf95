"""How long one turn's sync of the log takes under sustained load, on this disk.

One log, as a leader fills it: in each turn one entry of 64 KiB and one fdatasync, at a steady 300
turns a second (about what pipelined load gives), with a dump now and then, so that segments are
made and removed all the time. The time is that of `Log.sync`, with everything that it does beside
the fdatasync; the same fdatasync of the same bytes over preallocated ones stands below it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.report import Line, percentile, show
from heroctl_core.limits import KIB
from heroctl_core.raft.log import SEGMENT_BYTES, Log
from heroctl_core.raft.records import DumpRef

ENTRY: Final = os.urandom(64 * KIB)
TURNS: Final = 9_000
TURN_S: Final = 1 / 300
DUMP_EVERY: Final = 1_000  # turns: 62 MiB, as the engine does
LINES: Final = (
    Line("sync_p50_ms", "sync of one turn, p50", "ms"),
    Line("sync_p99_ms", "p99", "ms"),
    Line("sync_p999_ms", "p99.9", "ms"),
    Line("sync_max_ms", "longest", "ms"),
    Line("bare_p50_ms", "a bare fdatasync of the same bytes, p50", "ms"),
    Line("bare_p99_ms", "p99", "ms"),
    Line("bare_p999_ms", "p99.9", "ms"),
    Line("bare_max_ms", "longest", "ms"),
)


def main(as_json: bool) -> int:
    """Prints the figures of 30 s each."""
    folder = Path(tempfile.mkdtemp(prefix="heroctl-sync-", dir=os.environ.get("HEROCTL_BENCH_DIR")))
    try:
        figures = _figures("sync", _log_turns(folder / "log"))
        figures |= _figures("bare", _bare_turns(folder / "bare"))
    finally:
        shutil.rmtree(folder)
    question = (__doc__ or "").partition("\n")[0]
    return show(question, LINES, figures, as_json=as_json, notes=[f"{TURNS} turns each"])


def _figures(name: str, times_s: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {f"{name}_{key}_ms": percentile(times_s, at) * 1000 for key, at in shares.items()}


def _log_turns(folder: Path) -> list[float]:
    log = Log.create(folder)

    def turn(number: int) -> None:
        log.append(ENTRY, log.last_index + 1, 1)
        log.set_commit(log.last_index)
        log.sync()
        if number % DUMP_EVERY == DUMP_EVERY - 1:
            log.compact(DumpRef(log.last_index, 1, "0" * 64, "dump"), log.last_index - 100)

    try:
        return _paced(turn)
    finally:
        log.close()


def _bare_turns(path: Path) -> list[float]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, SEGMENT_BYTES)
    os.pwrite(fd, bytes(SEGMENT_BYTES), 0)
    os.fsync(fd)
    room = SEGMENT_BYTES - len(ENTRY)

    def turn(number: int) -> None:
        os.pwrite(fd, ENTRY, number * len(ENTRY) % room)
        os.fdatasync(fd)

    try:
        return _paced(turn)
    finally:
        os.close(fd)


def _paced(turn: Callable[[int], None]) -> list[float]:
    times_s: list[float] = []
    due_s = time.perf_counter()
    for number in range(TURNS):
        began_s = time.perf_counter()
        turn(number)
        times_s.append(time.perf_counter() - began_s)
        due_s += TURN_S
        time.sleep(max(0.0, due_s - time.perf_counter()))
    return times_s
