"""Unix sockets: listen, connect, and who is at the other end. Knows nothing of what is said there.

A socket's name may be as long as a path may be: where the kernel's 107 bytes are not enough, the
way leads over an open descriptor of its folder.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from .errors import Busy, FileFault

_NAME_BYTES: Final = 107  # sun_path of Linux, without its last zero byte


class HasOptions(Protocol):
    """A socket, or what asyncio shows of one."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def connect(path: Path | str, timeout_s: float) -> socket.socket:
    """A connection to the socket at `path`; OSError as connect(2) gives it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with _reachable(Path(path)) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


def listen(path: Path) -> socket.socket:
    """A listener at `path` that only its owner can open, from the first moment on.

    The name that a killed process left behind is replaced; Busy when somebody answers there.
    """
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # bind() gives the name this mode
        with _reachable(path) as name:
            listener.bind(name)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise FileFault(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return listener


def peer_uid(connection: HasOptions) -> int:
    """The user id at the other end, as the kernel noted it at connect(2)."""
    layout = "3i"
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(layout))
    _, uid, _ = struct.unpack(layout, data)
    return int(uid)


def remove(path: Path, inode: int) -> None:
    """Drops the name of a listener, when it is still that listener's."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass  # somebody emptied the folder: gone is gone


def _remove_dead(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing there, or bind() says what is wrong with the folder
    if not stat.S_ISSOCK(mode):
        raise FileFault(f"{path} is in the way: it is no socket", hint="move it away")
    try:
        connect(path, 1.0).close()
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:
        return  # bind() says what is wrong
    else:
        raise Busy(f"another node answers at {path}", hint="stop it first, or set api.socket")


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name of `path` that fits into a socket address."""
    if len(os.fsencode(path)) <= _NAME_BYTES:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
