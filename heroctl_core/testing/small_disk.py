"""A file system of its own for one folder, which can be filled to the last byte. Needs root."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Final

_BLOCK: Final = 65_536


class SmallDisk:
    """A tmpfs at `folder`, from mount() to unmount()."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    def mount(self) -> None:
        """Covers the folder, which is made when it is not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", self.folder], check=True)

    def unmount(self) -> None:
        """What was in it is gone."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def fill(self) -> None:
        """Takes all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_BLOCK))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Gives the room back."""
        self._ballast.unlink(missing_ok=True)
