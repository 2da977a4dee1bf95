"""One connection between members: a byte stream, and frames in both directions.

A frame is `length u32 | tag 8 | msgpack`. Nothing here knows what a frame means or who may send it.
The byte stream is a plain socket on loopback, and TLS elsewhere (raft/tls_stream.py). On loopback
the frames of peers are sealed: any user could listen at the port of a node that is down, and relay.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from .. import limits
from ..crypto.frame_cipher import FrameCipher
from .greeting import Certificate, Introduction
from .handshake import Hello, frame_tag

FRAME_HEAD: Final = struct.Struct(">I8s")
SPEAKS_HTTP: Final = "it speaks HTTP, and this is the Raft port: the API is at api.listen"
_HTTP: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE")  # how a request begins
NO_TAG: Final = bytes(8)
_HELLO_BYTES: Final = 64 * limits.KIB  # whoever has not said who it is may not fill our memory
RECEIVE_BYTES: Final = 256 * limits.KIB
_OUTBOX_BYTES: Final = 64 * limits.MIB  # a peer that reads slower than this is cut off
_UNSENT_BYTES: Final = 128 * limits.KIB  # in the kernel: what is queued there cannot be overtaken


class Stream:
    """A non-blocking byte stream over one socket. ValueError from `secure` or `receive` is a reason
    to cut the other side off."""

    certificate: Certificate | None = None  # whose the other end is, when it had to show one

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._sock = sock

    def take_socket(self) -> socket.socket:
        """The socket, for another stream over it; this one is closed."""
        sock, self._sock = self._sock, socket.socket()
        self._sock.close()
        return sock

    def fileno(self) -> int:
        """The descriptor, -1 when it is closed."""
        return self._sock.fileno()

    def connect(self, target: Any) -> int:
        """Begins to connect; 0 or EINPROGRESS when it may succeed, else the error's number."""
        return self._sock.connect_ex(target)

    def error(self) -> int:
        """What became of `connect`: 0 or the error's number."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def secure(self) -> int:
        """Goes on until both ends trust the stream: 0 when they do, else the epoll event that is
        waited for. OSError when the connection ended. A plain stream has nothing to do."""
        return 0

    def receive(self) -> bytes | None:
        """Some bytes, b"" at the end, None when there are none now."""
        try:
            return self._sock.recv(RECEIVE_BYTES)
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

    def end(self) -> None:
        """Sends no more. To close at once could take from the other end what it has not read."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has ended already

    def close(self) -> None:
        self._sock.close()


@dataclass(slots=True, eq=False)
class Channel:
    """One connection. `address` is set on those that we dialed; `where` is the other end."""

    stream: Stream
    address: str | None
    opened_s: float
    where: str
    connecting: bool = False
    introduction: Introduction | None = None  # once the stream is secure
    member_id: str | None = None  # once both sides are peers
    boot_nonce: str = ""  # of the process at the other end
    tag: bytes = NO_TAG  # what its frames must carry
    closing: bool = False  # after the outbox is empty
    wants_write: bool = False
    _inbox: bytearray = field(default_factory=bytearray)
    _outbox: bytearray = field(default_factory=bytearray)
    _bulk: deque[bytes] = field(default_factory=deque)  # leaves when nothing else is waiting
    _bulk_bytes: int = 0
    _cipher: FrameCipher | None = None

    @property
    def is_open(self) -> bool:
        return self.stream.fileno() >= 0

    @property
    def is_stranger(self) -> bool:
        """Whether it came to us and is nobody's yet."""
        return self.address is None and self.member_id is None

    def become_peer(self, theirs: Hello) -> None:
        """From now on frames are of that member's lineage, and sealed where TLS does not do it."""
        assert self.introduction is not None
        self.member_id, self.boot_nonce = theirs.member_id, theirs.boot_nonce
        self.tag = frame_tag(theirs.cluster_id, theirs.lineage)
        if (key := self.introduction.frame_key(theirs)) is not None:
            self._cipher = FrameCipher(key, dialed=self.address is not None)

    @property
    def has_output(self) -> bool:
        return bool(self._outbox or self._bulk)

    def fill(self) -> bool:
        """Takes in what came; False when the connection has ended."""
        data = self.stream.receive()
        if data:
            self._inbox += data
        return data != b""

    def drop_input(self) -> None:
        """Forgets what came: this end has said all that it will say."""
        self._inbox.clear()

    def next_frame(self) -> tuple[bytes, bytes] | None:
        """Tag and body of the next whole frame, or None; ValueError for one that is too long,
        before any of it is kept, and for one that is not sealed as it should be."""
        inbox = self._inbox
        if len(inbox) < FRAME_HEAD.size:
            return None
        length, tag = FRAME_HEAD.unpack_from(inbox)
        limit = limits.FRAME_BYTES if self.member_id is not None else _HELLO_BYTES
        if length > limit:
            if self.introduction is not None and inbox[:2] == b"\x16\x03":
                raise ValueError("it speaks TLS, and this node has none: see tls in server.yaml")
            if self.member_id is None and bytes(inbox[:4]) in _HTTP:
                raise ValueError(SPEAKS_HTTP)
            raise ValueError(f"a frame of {length} bytes, the limit is {limit}")
        end = FRAME_HEAD.size + length
        if len(inbox) < end:
            return None
        body = bytes(memoryview(inbox)[FRAME_HEAD.size : end])
        del inbox[:end]  # moves the start, not the bytes
        return tag, body if self._cipher is None else self._cipher.open(body, tag)

    def queue(self, body: bytes, *, bulk: bool = False) -> bool:
        """Puts a frame into the outbox; False when the peer reads too slowly. A `bulk` frame lets
        everything else go first, so that a snapshot delays no heartbeat."""
        if bulk:
            self._bulk.append(body)
            self._bulk_bytes += len(body)
        else:
            self._put(body)
        return len(self._outbox) + self._bulk_bytes <= _OUTBOX_BYTES

    def flush(self) -> bool:
        """Lets go what the stream takes; False when the connection is broken."""
        while self._outbox or self._bulk:
            if not self._outbox:
                self._bulk_bytes -= len(self._bulk[0])
                self._put(self._bulk.popleft())
            sent = self.stream.send(memoryview(self._outbox)[:RECEIVE_BYTES])
            if sent is None:
                return False
            if not sent:
                break
            del self._outbox[:sent]
        return True

    def _put(self, body: bytes) -> None:
        """Sealed only here: frames are counted in the order in which they leave."""
        if self._cipher is not None:
            body = self._cipher.seal(body, self.tag)
        self._outbox += FRAME_HEAD.pack(len(body), self.tag)
        self._outbox += body
