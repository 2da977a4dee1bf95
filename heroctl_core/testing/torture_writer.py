"""A node that writes until it is killed; run by torture.py: `... torture_writer FOLDER`.

The first line on stdout is what it found: a list of [thread, slot, number]. Then one line
"THREAD NUMBER" for each write that was acknowledged. A thread's number n stands in its slot
n % SLOTS, so the state stays small while the log and the dumps turn over.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Final

from ..control_plane import ControlPlane
from ..raft import compaction

SLOTS: Final = 50
_THREADS: Final = 4
_DUMP_AFTER_ENTRIES: Final = 150


def main(folder: str) -> None:
    """Writes for ever."""
    compaction.DUMP_AFTER_ENTRIES = _DUMP_AFTER_ENTRIES  # type: ignore[misc]
    with ControlPlane.open(data_dir=folder) as plane:
        found = [
            [*map(int, job.name.split("-")), int(job.spec["number"])] for job in plane.jobs.list()
        ]
        os.write(1, json.dumps(found).encode() + b"\n")
        threads = [
            threading.Thread(target=_write, args=(plane, thread, found))
            for thread in range(_THREADS)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()


def _write(plane: ControlPlane, thread: int, found: list[list[int]]) -> None:
    number = max((n for owner, _, n in found if owner == thread), default=0)
    while True:
        number += 1
        content = {"number": number, "filling": "x" * (number % 7 * 300)}
        plane.jobs.put(f"{thread}-{number % SLOTS}", content)
        os.write(1, f"{thread} {number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
