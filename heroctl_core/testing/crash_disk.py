"""A disk with power cuts: real files, but what was not synced can be taken away again.

For tests of what writes through raft/disk.py. The pessimist's model of a disk: any subset of the
4 KiB pages of an unsynced write may be missing, any rename, creation or unlink may be undone until
its folder is synced.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..raft.disk import Disk

PAGE: Final = 4096


class PowerCut(Exception):
    """The machine is off: raised by the operation at which the test wanted it, and all later."""


class CrashDisk(Disk):
    """Counts operations; stops before or fails at a chosen one."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.operations: list[str] = []
        self.stop_at = stop_at
        self.fail: dict[str, OSError] = {}  # operation name -> error, raised until removed
        self._paths: dict[int, Path] = {}
        self._writes: list[tuple[Path, int, bytes]] = []  # with the bytes from before
        self._names: list[tuple[Path, Callable[[], None]]] = []  # folder, how to undo
        self._unlinks: list[tuple[Path, bytes]] = []

    def _step(self, what: str) -> None:
        if self.stop_at is not None and len(self.operations) >= self.stop_at:
            raise PowerCut(what)
        self.operations.append(what)
        if what in self.fail:
            raise self.fail[what]

    def create(self, path: Path, size_bytes: int) -> int:
        self._step("create")
        existed = path.exists()
        fd = super().create(path, size_bytes)
        self._paths[fd] = path
        if not existed:
            self._names.append((path.parent, lambda: path.unlink(missing_ok=True)))
        return fd

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._step("write")
        path = self._paths[fd]
        with path.open("rb") as file:
            file.seek(offset)
            self._writes.append((path, offset, file.read(len(data))))
        super().write(fd, data, offset)

    def sync_data(self, fd: int) -> None:
        self._step("sync_data")
        self._forget(fd)

    def sync(self, fd: int) -> None:
        self._step("sync")
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        path = self._paths[fd]
        self._writes = [write for write in self._writes if write[0] != path]

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)
        self._paths = {fd: target if path == source else path for fd, path in self._paths.items()}
        self._names.append((target.parent, lambda: _undo_rename(source, target)))

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        if path.exists():
            self._unlinks.append((path, path.read_bytes()))
        super().unlink(path)

    def discard(self, path: Path) -> bool:
        """At once, so that a history has one order."""
        self.unlink(path)
        return True

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")
        self._names = [name for name in self._names if name[0] != path]
        self._unlinks = [unlink for unlink in self._unlinks if unlink[0].parent != path]

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def power_cut(self, chance: random.Random) -> None:
        """Takes away a random part of what was not synced. The log must not be used afterwards."""
        for fd in list(self._paths):
            self.close(fd)
        for path, offset, before in reversed(self._writes):
            if path.exists():
                _tear(path, offset, before, chance)
        # Names go in order: what came later cannot stay when what it builds on is undone.
        for _ in range(chance.randint(0, len(self._names))):
            self._names.pop()[1]()
        for path, content in self._unlinks:
            if chance.random() < 0.5:
                path.write_bytes(content)
        self._writes, self._names, self._unlinks = [], [], []


def _undo_rename(source: Path, target: Path) -> None:
    if target.exists():
        target.rename(source)


def _tear(path: Path, offset: int, before: bytes, chance: random.Random) -> None:
    """Puts some pages of a write back to what they were."""
    with path.open("r+b") as file:
        at = 0
        while at < len(before):
            size = min(PAGE - (offset + at) % PAGE, len(before) - at)
            if chance.random() < 0.5:
                file.seek(offset + at)
                file.write(before[at : at + size])
            at += size
