"""The two ends of a dump's way between nodes: a file that is read, a file that grows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import FileFault
from ..files import faults, fsync_dir

INCOMING: Final = ".incoming"


class FileSource:
    """The bytes of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with faults(path):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        with faults(self._path):
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileSink:
    """Bytes on their way into NAME.incoming.

    An error is kept until `finish`: a disk that is too full for a dump must not stop the node.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._error: FileFault | None = None
        self._fd = -1
        self._guarded(lambda: self._open(size))

    def _open(self, size: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        os.posix_fallocate(self._fd, 0, size)

    def write(self, data: bytes) -> None:
        self._guarded(lambda: _write_all(self._fd, data))

    def _guarded(self, write: Callable[[], None]) -> None:
        if self._error is not None:
            return
        try:
            with faults(self._path):
                write()
        except FileFault as error:
            self._error = error
            self.abort()

    def abort(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with faults(self._path):
            self._path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Durable under its own name; raises what went wrong before."""
        if self._error is not None:
            raise self._error
        with faults(self._path):
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._path.rename(target)
        fsync_dir(target.parent)


def _write_all(fd: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])
