"""Whether the disk has room for the log, or has had none since a write that failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .. import files, limits
from ..errors import LogFull
from .log import SEGMENT_BYTES

_LOOK_S: Final = 1.0
_NEEDED_BYTES: Final = SEGMENT_BYTES + limits.MIB  # the log grows by whole segments


class Room:
    """The room in one data folder. Times are monotonic seconds; one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._look_s = 0.0
        self.missing: LogFull | None = None  # what the log said, while there is no room

    def lost(self, error: LogFull, now_s: float) -> None:
        """The log found no room."""
        self.missing = error
        self._look_s = now_s + _LOOK_S

    def is_back(self, now_s: float) -> bool:
        """Whether the log may try again; looked at once a second while room is missing."""
        if self.missing is None or now_s < self._look_s:
            return False
        self._look_s = now_s + _LOOK_S
        with files.faults(self._path):
            disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize >= _NEEDED_BYTES
