"""One connection between members: a byte stream, and frames in both directions.

A frame is `length u32 | tag 8 | msgpack`. Nothing here knows what a frame means or who may send it.
The byte stream is a plain socket on loopback; TLS takes its place (`Stream`).
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from .. import limits
from ..config.model import split_address
from ..errors import ConfigError

FRAME_HEAD: Final = struct.Struct(">I8s")
NO_TAG: Final = bytes(8)
_HELLO_BYTES: Final = 64 * limits.KIB  # whoever has not said who it is may not fill our memory
_RECEIVE_BYTES: Final = 256 * limits.KIB
_OUTBOX_BYTES: Final = 64 * limits.MIB  # a peer that reads slower than this is cut off


class Stream:
    """A non-blocking byte stream over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def fileno(self) -> int:
        """The descriptor, -1 when it is closed."""
        return self._sock.fileno()

    def connect(self, target: Any) -> int:
        """Begins to connect; 0 or EINPROGRESS when it may succeed, else the error's number."""
        return self._sock.connect_ex(target)

    def error(self) -> int:
        """What became of `connect`: 0 or the error's number."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def receive(self) -> bytes | None:
        """Some bytes, b"" at the end, None when there are none now."""
        try:
            return self._sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def send(self, data: memoryview) -> int | None:
        """How many bytes were taken; None when the connection is broken."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return None

    def close(self) -> None:
        self._sock.close()


@dataclass(slots=True, eq=False)
class Channel:
    """One connection. `address` is set on those that we dialed."""

    stream: Stream
    address: str | None
    opened_s: float
    connecting: bool = False
    member_id: str | None = None  # once both sides are peers
    boot_nonce: str = ""  # of the process at the other end
    tag: bytes = NO_TAG  # what its frames must carry
    closing: bool = False  # after the outbox is empty
    wants_write: bool = False
    _inbox: bytearray = field(default_factory=bytearray)
    _outbox: bytearray = field(default_factory=bytearray)

    @property
    def is_open(self) -> bool:
        return self.stream.fileno() >= 0

    @property
    def is_stranger(self) -> bool:
        """Whether it came to us and is nobody's yet."""
        return self.address is None and self.member_id is None

    @property
    def has_output(self) -> bool:
        return bool(self._outbox)

    def fill(self) -> bool:
        """Takes in what came; False when the connection has ended."""
        data = self.stream.receive()
        if data:
            self._inbox += data
        return data != b""

    def next_frame(self) -> tuple[bytes, bytes] | None:
        """Tag and body of the next whole frame, or None; ValueError for one that is too long,
        before any of it is kept."""
        inbox = self._inbox
        if len(inbox) < FRAME_HEAD.size:
            return None
        length, tag = FRAME_HEAD.unpack_from(inbox)
        limit = limits.FRAME_BYTES if self.member_id is not None else _HELLO_BYTES
        if length > limit:
            raise ValueError(f"a frame of {length} bytes, the limit is {limit}")
        end = FRAME_HEAD.size + length
        if len(inbox) < end:
            return None
        body = bytes(memoryview(inbox)[FRAME_HEAD.size : end])
        del inbox[:end]  # moves the start, not the bytes
        return tag, body

    def queue(self, body: bytes) -> bool:
        """Puts a frame into the outbox; False when the peer reads too slowly."""
        self._outbox += FRAME_HEAD.pack(len(body), self.tag)
        self._outbox += body
        return len(self._outbox) <= _OUTBOX_BYTES

    def flush(self) -> bool:
        """Lets go what the stream takes; False when the connection is broken."""
        while self._outbox:
            sent = self.stream.send(memoryview(self._outbox)[:_RECEIVE_BYTES])
            if sent is None:
                return False
            if not sent:
                break
            del self._outbox[:sent]
        return True


def dial(address: str) -> tuple[Stream, int]:
    """A stream that connects to `address`, and an error's number or 0. OSError when there is no
    such address, or no socket to be had."""
    family, target = resolve(address)
    stream = Stream(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
    outcome = stream.connect(target)
    return stream, 0 if outcome == errno.EINPROGRESS else outcome


def resolve(address: str) -> tuple[int, Any]:
    """Family and socket address of HOST:PORT; OSError when it means nothing."""
    host, _, port = address.rpartition(":")
    try:
        if port != "0":  # a listener may leave the choice to the system
            split_address(address)
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except ValueError as error:  # also a host that no encoding can hold
        raise OSError(errno.EINVAL, str(error)) from error
    return found[0][0], found[0][4]


def listen(address: str) -> socket.socket:
    """A bound socket; only loopback until members prove who they are by certificates."""
    try:
        family, target = resolve(address)
        server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        text = error.strerror or str(error)
        raise ConfigError(f"raft.listen {address!r} is no address: {text}") from error
    if not (str(target[0]).startswith("127.") or target[0] == "::1"):
        server.close()
        raise ConfigError(
            f"raft.listen {address!r} is not a loopback address",
            hint="without TLS the Raft listener binds only to loopback, for example 127.0.0.1:7101",
        )
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(target)
    except OSError as error:
        server.close()
        raise ConfigError(
            f"raft.listen {address!r} cannot be bound: {error.strerror}",
            hint="another process uses it; see: ss -ltnp",
        ) from error
    return server
