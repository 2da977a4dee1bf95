"""The file operations of the log, one method each, so that tests can stop, fail or tear any.

Knows nothing of segments or frames. `testing/crash_disk.py` is the same with power cuts.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Disk:
    """The real disk. Every method raises OSError as the system call does."""

    _discarding: threading.Thread | None = None
    _discard_error: OSError | None = None

    def create(self, path: Path, size_bytes: int) -> int:
        """A descriptor of a new file of `size_bytes` zeros whose blocks are reserved."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        except OSError:
            os.close(fd)
            raise
        return fd

    def open(self, path: Path) -> int:
        """A descriptor of an existing file, for writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Writes all of `data`; one system call unless the kernel takes less."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def discard(self, path: Path) -> bool:
        """Begins to remove a file beside the caller: giving 16 MiB back takes milliseconds. False
        while the one before is not gone; raises what that one met."""
        if self._discarding is not None and self._discarding.is_alive():
            return False
        if self._discard_error is not None:
            raise self._discard_error
        self._discarding = threading.Thread(target=self._discard, args=(path,), daemon=True)
        self._discarding.start()
        return True

    def _discard(self, path: Path) -> None:
        try:
            self.unlink(path)
        except OSError as error:
            self._discard_error = error

    def wait_discarded(self) -> None:
        """Returns when what `discard` began is done."""
        if self._discarding is not None:
            self._discarding.join()

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)
