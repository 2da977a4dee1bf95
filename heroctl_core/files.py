"""The one way to write a file, to read a private one, and to lock a folder.

A file appears whole or not at all: NAME.partial, fsync, rename, fsync of the folder. What the
system refuses becomes a FileFault that names the file. This module knows nothing of formats.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

from .errors import Busy, FileFault, UsageError
from .mounts import NETWORK_FILE_SYSTEMS, file_system

PARTIAL: Final = ".partial"
LOCK_NAME: Final = "lock"

_HINTS: Final = {
    errno.ENOSPC: "free some space or choose another folder, then run it again",
    errno.EDQUOT: "the quota of this user is used up: free some space, then run it again",
    errno.EROFS: "the file system is mounted read-only: choose another folder",
    errno.EACCES: "run it as the user it belongs to, or choose another path",
    errno.EPERM: "run it as the user it belongs to, or choose another path",
    errno.ENOENT: "check the path",
    errno.EIO: "the disk reports errors: look at the kernel's log and use another disk",
}


@contextmanager
def faults(path: Path | str) -> Iterator[None]:
    """Turns an OSError inside into a FileFault that names `path`."""
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        raise FileFault(f"{path}: {text.lower()}", hint=_HINTS.get(error.errno or 0)) from error


def fsync_dir(path: Path | str) -> None:
    """Makes the names in a folder durable."""
    with faults(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class AtomicFile:
    """A new file that appears whole, or not at all when the block is left by an error.

    Written to NAME.partial, which is locked while it is written: a second writer of the same name
    gets Busy, and what a killed writer left behind is replaced. Without `overwrite` an existing
    file stays and is a UsageError, also when it appears while we write.
    """

    def __init__(self, path: Path | str, *, mode: int = 0o600, overwrite: bool = True) -> None:
        self.path = Path(path)
        if not self.path.name:
            raise UsageError(f"{str(path)!r} names no file", hint="give the name of a file")
        self.partial = self.path.with_name(self.path.name + PARTIAL)
        self._mode = mode
        self._overwrite = overwrite
        self.fd = -1

    def __enter__(self) -> Self:
        with faults(self.path):
            if self.path.is_dir():
                raise UsageError(f"{self.path} is a folder", hint="give the name of a file")
            if self.path.exists() and not self.path.is_file():
                # The rename would put a file in the place of /dev/null, for all programs.
                raise UsageError(
                    f"{self.path} is not a regular file", hint="give the name of a file"
                )
            self._refuse_existing()
            self.fd = self._create()
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of `data`."""
        with faults(self.path):
            done = os.write(self.fd, data)
            while done < len(data):
                done += os.write(self.fd, memoryview(data)[done:])

    def sync(self) -> None:
        """Everything written so far is on the disk, and is read from there next time."""
        with faults(self.path):
            os.fsync(self.fd)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with faults(self.path):
                    os.fsync(self.fd)
                    self._publish()
        finally:
            self._discard()
            os.close(self.fd)
        if error is None:
            fsync_dir(self.path.parent)

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(self.partial, flags, self._mode)
        except FileExistsError:
            self._drop_left_behind()
            fd = os.open(self.partial, flags, self._mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, self._mode)  # whatever the umask is
        except BlockingIOError as error:
            os.close(fd)
            raise self._busy() from error
        return fd

    def _drop_left_behind(self) -> None:
        """Unlinks the partial file of a writer that is gone; Busy when it still writes.

        A file or link that somebody else put there (in /tmp) is never written to: it is unlinked.
        """
        with self._opened_partial() as fd:
            if fd is not None:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise self._busy() from error
            self.partial.unlink(missing_ok=True)

    @contextmanager
    def _opened_partial(self) -> Iterator[int | None]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self.partial, flags)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT, errno.EACCES, errno.ENXIO):
                raise
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def _publish(self) -> None:
        if not self._is_ours():
            raise self._busy()
        if self._overwrite:
            self.partial.replace(self.path)
            return
        try:
            os.link(self.partial, self.path)  # unlike a rename it never replaces
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            self._refuse_existing()  # a file system without hard links: as near as it gets
            self.partial.rename(self.path)

    def _discard(self) -> None:
        """Drops the partial name; after a rename there is none."""
        try:
            if self._is_ours():
                self.partial.unlink()
        except OSError:
            pass  # the next writer replaces it, and the error under way matters more

    def _is_ours(self) -> bool:
        """Whether NAME.partial is still the file that we write."""
        try:
            there = os.lstat(self.partial)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self.fd))

    def _refuse_existing(self) -> None:
        if not self._overwrite and os.path.lexists(self.path):
            raise UsageError(
                f"{self.path} exists already", hint="choose another name, or say --overwrite"
            )

    def _busy(self) -> Busy:
        return Busy(f"somebody else is writing {self.path}", hint="wait until it is done")


def write_atomic(
    path: Path | str, data: bytes, *, mode: int = 0o600, overwrite: bool = True
) -> None:
    """`path` has exactly `data`, durably; after any error it is as it was before."""
    with AtomicFile(path, mode=mode, overwrite=overwrite) as file:
        file.write(data)


def read_private(path: Path | str, *, max_bytes: int, any_mode: bool = False) -> bytes:
    """The content of a file that only its owner can read; FileFault names mode and chmod.

    `any_mode` is for folders that are private themselves, such as systemd's credentials.
    """
    with faults(path):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileFault(f"{path} is not a regular file", hint="check the path")
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077 and not any_mode:
                raise FileFault(
                    f"{path} can be read or written by others (mode {mode:04o}, allowed is 0600)",
                    hint=f"chmod 600 {path}",
                )
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise FileFault(f"{path} has more than {max_bytes} bytes", hint="check the path")
    return data


class DirLock:
    """The lock of a folder, held until release() or the end of the process; not by its forks."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        _HELD.add(self)

    def release(self) -> None:
        """Gives the folder free; a second call does nothing."""
        if self._fd >= 0:
            # The file stays: unlinking it would let two processes lock two files of that name.
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def leave_to_parent(self) -> None:
        """In a fork: the lock is the parent's alone, so that it ends with the parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_HELD: Final[WeakSet[DirLock]] = WeakSet()


def _leave_locks_to_parent() -> None:
    for lock in list(_HELD):
        lock.leave_to_parent()


os.register_at_fork(after_in_child=_leave_locks_to_parent)


def lock_dir(path: Path | str) -> DirLock:
    """The lock of a data folder; Busy names the process that has it.

    A network file system is refused: two machines could both hold the lock.
    """
    folder = Path(path)
    require_local_disk(folder)
    name = folder / LOCK_NAME
    with faults(name):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 256, 0).decode(errors="replace").split()
            os.close(fd)
            raise _in_use(folder, holder) from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {_program()}\n".encode(), 0)
        except OSError:
            os.close(fd)  # or this process would hold the folder for good
            raise
    return DirLock(folder, fd)


def _program() -> str:
    """What people know this process by; of `python -m service` it is the package's name."""
    path = Path(sys.argv[0] or "python")
    name = path.parent.name if path.name == "__main__.py" else path.name
    return name.replace(" ", "-")


def _in_use(folder: Path, holder: list[str]) -> Busy:
    who = f"{holder[1]} (pid {holder[0]})" if len(holder) == 2 else "another process"
    return Busy(
        f"{folder} is in use by {who}",
        hint="stop that process first, or let it do the work: give its --addr or its socket",
    )


def require_local_disk(path: Path | str) -> None:
    """Nothing when `path` is on a local disk; UsageError names the network file system."""
    with faults("/proc/self/mounts"):
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    kind = file_system(Path(path).resolve(), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UsageError(
            f"{path} is on a network file system ({kind}), whose locks and fsync are not safe",
            hint="put the data folder on a local disk",
        )


def give_to_owner(path: Path | str, like: Path | str) -> None:
    """`path` and all below it belong to the owner of `like`; does nothing unless run by root.

    For commands that root runs on the folder of a service: the service must be able to read what
    they wrote. Links are not followed, and a file with a second name is left alone, because that
    name may be somewhere else.
    """
    if os.geteuid() != 0:
        return
    with faults(path):
        owner = Path(like).stat()
        _give(os.fspath(path), owner)
        # By descriptors: the owner could put a link in the place of a folder while we walk.
        for _, names, files, folder_fd in os.fwalk(path):
            for name in (*names, *files):
                _give(name, owner, folder_fd)


def _give(name: str, owner: os.stat_result, folder_fd: int | None = None) -> None:
    status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        return
    if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder_fd, follow_symlinks=False)
