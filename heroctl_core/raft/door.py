"""The listening socket of a node: bound at once, opened later, paused when descriptors run out."""

from __future__ import annotations

import select
import socket
from typing import Final

from . import addresses

_BACKLOG: Final = 64
_PAUSE_S: Final = 1.0  # when the system has no descriptor left


class Door:
    """Where others connect to. `address` is where it really is."""

    def __init__(self, listen: str, epoll: select.epoll, *, anywhere: bool) -> None:
        """Binds; ConfigError when the address cannot be had."""
        self._server = addresses.listen(listen, anywhere=anywhere)
        self._epoll = epoll
        self.address = f"{listen.rpartition(':')[0]}:{self._server.getsockname()[1]}"
        self._is_open = self._accepting = False
        self._again_s = 0.0

    def fileno(self) -> int:
        """The descriptor that epoll names."""
        return self._server.fileno()

    def open(self) -> None:
        """Lets others connect."""
        if not self._is_open:
            self._server.listen(_BACKLOG)
            self._is_open = True
            self._go_on()

    def look(self, now_s: float) -> None:
        """Goes on accepting after a pause."""
        if self._is_open and not self._accepting and self._again_s <= now_s:
            self._go_on()

    def accept(self, now_s: float) -> tuple[socket.socket, str] | None:
        """One connection and the host that it comes from; None when there is none."""
        try:
            sock, where = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError:
            # No descriptor or memory left: what is open goes on, the others wait.
            self._epoll.unregister(self._server.fileno())
            self._accepting = False
            self._again_s = now_s + _PAUSE_S
            return None
        return sock, str(where[0])

    def close(self) -> None:
        self._server.close()

    def _go_on(self) -> None:
        self._epoll.register(self._server.fileno(), select.EPOLLIN)
        self._accepting = True
