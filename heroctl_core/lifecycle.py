"""Changes of generation of a node that runs: the forced bootstrap of the guide's scenario 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import Clock

if TYPE_CHECKING:
    from .backup.save import Snapshots
    from .raft.folder import DataFolder
    from .raft.runtime import Runtime
    from .server.port import Report, RestoreOptions


class Lifecycle:
    """What the server's socket may ask of the node it belongs to."""

    def __init__(
        self, runtime: Runtime, folder: DataFolder, keys: Any, snapshots: Snapshots, clock: Clock
    ) -> None:
        self._runtime = runtime
        self._folder = folder
        self._keys = keys
        self._snapshots = snapshots
        self._clock = clock

    def force_bootstrap(self, archive: Path, options: RestoreOptions) -> Report:
        """See server.port.Lifecycle."""
        raise AssertionError("written with recovery/restore.py")
