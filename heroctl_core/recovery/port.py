"""What a restore needs of the place where it writes: the port, and the values that cross it.

The adapter is raft/restore_target.py, for a stopped folder and for one whose node is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..crypto.keys import BackupKey
from ..state.machine import DumpState, View
from .facts import Present
from .plan import RestorePlan


@dataclass(frozen=True, slots=True)
class Stored:
    """What the folder holds now. `view` is None when there is nothing, or nothing that can be read;
    `index` and `term` are those of the last log entry in it."""

    facts: Present
    view: View | None = None
    index: int = 0
    term: int = 0


class RestoreTarget(Protocol):
    """A data folder, or the place where one will be. Each step may be killed and done again."""

    def stored(self) -> Stored:
        """The present state; changes nothing."""
        ...

    def prepare(self) -> None:
        """Makes folder and spool where there are none."""
        ...

    @property
    def spool(self) -> Path: ...

    @property
    def backups(self) -> Path: ...

    def wrapping_key(self) -> BackupKey:
        """The key that this node will open the keyring with."""
        ...

    def stage(self, plan: RestorePlan, state: DumpState) -> None:
        """Writes the new generation where nothing looks, durably and verified."""
        ...

    def publish(self, plan: RestorePlan) -> None:
        """Moves it to its place in one rename; still nothing uses it."""
        ...

    def switch(self, plan: RestorePlan) -> None:
        """The one rename after which the new generation counts."""
        ...

    def write_receipt(self, receipt: Mapping[str, Any]) -> None:
        """Notes what was done; the last step."""
        ...
