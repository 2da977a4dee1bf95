"""Connections of strangers to the Raft port of a real node: rubbish instead of a TLS handshake."""

from __future__ import annotations

import random
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..raft.channel import FRAME_HEAD

_HELD: Final = 200  # connections kept open at a time, more than a node lets strangers have
_TIMEOUT_S: Final = 10.0


@dataclass
class Strangers:
    """Connects from a seed; `count` connections were made."""

    address: str
    rng: random.Random
    count: int = 0
    _held: deque[socket.socket] = field(default_factory=deque)
    _client_hello: bytes = b""

    def __post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        there = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), there).do_handshake()
        self._client_hello = there.read()

    def knock(self) -> None:
        """One connection: it sends something, then it is held for a while, closed or reset."""
        host, _, port = self.address.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=_TIMEOUT_S)
        self.count += 1
        with suppress(OSError):  # it hung up while we were sending
            sock.sendall(self._rubbish())
            if self.rng.random() < 0.3:
                sock.setblocking(False)
                sock.recv(1 << 16)
        self._held.append(sock)
        while len(self._held) > self.rng.choice((0, _HELD, _HELD)):
            self._hang_up(self._held.popleft())

    def hang_up(self) -> None:
        """Ends all connections."""
        while self._held:
            self._hang_up(self._held.popleft())

    def _hang_up(self, sock: socket.socket) -> None:
        if self.rng.random() < 0.3:  # a reset instead of an end
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def _rubbish(self) -> bytes:
        rng, hello = self.rng, bytearray(self._client_hello)
        kind = rng.randrange(8)
        if kind == 0:
            return b""
        if kind == 1:
            return rng.randbytes(rng.randrange(1, 2000))
        if kind == 2:
            return bytes(hello[: rng.randrange(len(hello))])
        if kind == 3:  # a whole one, then nothing or rubbish in the place of a certificate
            return bytes(hello) + rng.randbytes(rng.choice((0, 0, 5, 500)))
        if kind == 4:
            for _ in range(rng.choice((1, 2, 20))):
                hello[rng.randrange(len(hello))] ^= 1 << rng.randrange(8)
            return bytes(hello)
        if kind == 5:
            return b"\x16\x03\x01" + struct.pack(">H", rng.randrange(1 << 16)) + rng.randbytes(300)
        if kind == 6:
            return FRAME_HEAD.pack(rng.choice((10, 2**31)), bytes(8)) + rng.randbytes(50)
        return b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def resident_bytes(pid: int) -> int:
    """The memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
