"""How commits/s and p99 change with the number of rows, of members, and with the size of values.

Each line is a fresh cluster with fsync and TLS between its nodes, filled as a dump before it
starts. Writes go to rows that are there, because a million is the limit. Pipelined, and 16
blocking threads for the p99.
"""

from __future__ import annotations

import random
import statistics
from functools import partial
from typing import Final

from benchmarks.cluster import run_on_leader
from benchmarks.filled import job_name
from benchmarks.load import VALUE, Put, blocking, pipelined
from benchmarks.report import Line, show
from heroctl_core import limits
from heroctl_core.control_plane import ControlPlane

ROUNDS: Final = 3
ROWS: Final = {"10k": 10_000, "100k": 100_000, "1m": limits.ROWS}
MEMBERS: Final = (1, 3, 5)
BYTES: Final = (100, 1024, 16 * limits.KIB, 190 * limits.KIB)  # a row also has its name in 192 KiB
PIPELINED: Final = 20_000
_IN_FLIGHT_BYTES: Final = 4 * limits.MIB
_ROUND_BYTES: Final = 32 * limits.MIB

LINES: Final = (
    *(Line(f"rows_{k}_per_s", f"{v:,} rows, pipelined", "commits/s") for k, v in ROWS.items()),
    *(Line(f"rows_{k}_p99_ms", f"{v:,} rows, 16 clients, p99", "ms") for k, v in ROWS.items()),
    *(Line(f"members_{n}_per_s", f"{n} members, pipelined", "commits/s") for n in MEMBERS),
    *(Line(f"members_{n}_p99_ms", f"{n} members, 16 clients, p99", "ms") for n in MEMBERS),
    *(Line(f"bytes_{n}_per_s", f"values of {n:,} bytes, pipelined", "commits/s") for n in BYTES),
    *(Line(f"bytes_{n}_mb_per_s", f"values of {n:,} bytes, pipelined", "MB/s") for n in BYTES),
)


def main(as_json: bool) -> int:
    """Prints the figures; medians of ROUNDS rounds."""
    figures: dict[str, float] = {}
    for key, rows in ROWS.items():
        figures |= run_on_leader(partial(_speed, prefix=f"rows_{key}"), rows=rows, tls=True)
    for members in MEMBERS:
        figures |= run_on_leader(
            partial(_speed, prefix=f"members_{members}"), rows=5_000, size=members, tls=True
        )
    figures |= run_on_leader(_sizes, rows=5_000, tls=True)
    return show((__doc__ or "").partition("\n")[0], LINES, figures, as_json=as_json)


def _speed(plane: ControlPlane, *, prefix: str) -> dict[str, float]:
    def connect() -> Put:
        return lambda name: plane.jobs.put(name, VALUE)

    blocking(connect, 16, 50, name=job_name)
    rates = [pipelined(plane, PIPELINED, name=job_name) for _ in range(ROUNDS)]
    tails = [blocking(connect, 16, 300, name=job_name) for _ in range(ROUNDS)]
    return {
        f"{prefix}_per_s": statistics.median(rates),
        f"{prefix}_p99_ms": statistics.median(each["clients16_p99_ms"] for each in tails),
    }


def _sizes(plane: ControlPlane) -> dict[str, float]:
    figures: dict[str, float] = {}
    for size in BYTES:
        value = {"v": random.Random(size).randbytes(size // 2).hex()}
        window = max(16, min(2000, _IN_FLIGHT_BYTES // size))
        count = max(100, min(PIPELINED, _ROUND_BYTES // size))
        rate = statistics.median(
            pipelined(plane, count, value=value, window=window, name=job_name)
            for _ in range(ROUNDS)
        )
        figures |= {f"bytes_{size}_per_s": rate, f"bytes_{size}_mb_per_s": rate * size / 1e6}
    return figures
