"""Sockets and frames between members. One thread: the engine's.

Each node dials every other one and sends on the connection that it made; what it receives comes on
connections that others made. A frame is `length u32 | tag 8 | msgpack`; the tag binds it to one
lineage, so that nothing crosses a change of generation. A connection begins with a hello in both
directions (raft/handshake.py); unless it makes both sides peers it ends right after, and the dialer
tries again later, which is how nodes of different generations keep telling each other their state.

The byte stream below the frames is a plain socket on loopback; TLS takes its place (`_Stream`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import select
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from .. import codec, limits
from ..clock import Clock
from ..errors import ConfigError
from .handshake import Hello, Judgement, Lineage, Relation, hello_from, judge

FRAME_HEAD: Final = struct.Struct(">I8s")
NO_TAG: Final = bytes(8)
_RECEIVE_BYTES: Final = 256 * limits.KIB
_OUTBOX_BYTES: Final = 64 * limits.MIB  # a peer that reads slower than this is cut off
_HANDSHAKE_S: Final = 5.0
_RETRY_S: Final = (0.05, 0.1, 0.2, 0.4, 0.5)
_RETRY_SELF_S: Final = 30.0


class Listener(Protocol):
    """Who is told what happens on the network; called from `poll`."""

    def my_hello(self) -> Hello: ...
    def met(self, address: str | None, theirs: Hello, judgement: Judgement) -> None: ...
    def unreachable(self, address: str, *, refused: bool) -> None: ...
    def opened(self, member_id: str) -> None: ...
    def closed(self, member_id: str) -> None: ...
    def peer_gone(self, member_id: str) -> None: ...
    def received(self, member_id: str, frame: list[Any]) -> str | None: ...
    def refused(self, what: str, reason: str) -> None: ...


class _Stream:
    """A non-blocking byte stream over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> bytes | None:
        """Some bytes, b"" at the end, None when there are none now."""
        try:
            return self._sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None

    def send(self, data: memoryview) -> int:
        """How many bytes were taken."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def error(self) -> int:
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def close(self) -> None:
        self._sock.close()


@dataclass(slots=True, eq=False)
class _Channel:
    """One connection. `address` is set on those that we dialed."""

    stream: _Stream
    address: str | None
    opened_s: float
    connecting: bool = False
    member_id: str | None = None  # once both sides are peers
    tag: bytes = NO_TAG
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    closing: bool = False  # after the outbox is empty
    wants_write: bool = False


@dataclass(slots=True)
class _Dial:
    """An address that we try to keep a connection to."""

    next_s: float = 0.0
    tries: int = 0
    channel: _Channel | None = None


class Transport:
    """All connections of one node. `address` is where its listener really is."""

    def __init__(self, listen: str | None, listener: Listener, clock: Clock) -> None:
        """Binds at once; ConfigError when the address cannot be had. None: nobody can connect."""
        self._listener = listener
        self._clock = clock
        self._epoll = select.epoll()
        self._channels: dict[int, _Channel] = {}
        self._out: dict[str, _Channel] = {}
        self._dials: dict[str, _Dial] = {}
        self._unflushed: set[_Channel] = set()
        self.cut_off = 0  # connections that ended because the peer sent rubbish
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signalled = False
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._server = _listen(listen) if listen is not None else None
        self.address = ""
        if listen is not None and self._server is not None:
            self.address = f"{listen.rpartition(':')[0]}:{self._server.getsockname()[1]}"
        self._accepting = False

    def accept_connections(self) -> None:
        """Opens the door; before, the log must have been taken in (row 12)."""
        if self._server is not None and not self._accepting:
            self._server.listen(64)
            self._epoll.register(self._server.fileno(), select.EPOLLIN)
            self._accepting = True

    def wake(self) -> None:
        """Ends a `poll` that waits; from any thread, cheap when it was woken already."""
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._wake_fd, 1)

    def dial(self, addresses: set[str]) -> None:
        """The addresses to keep connections to, from now on."""
        for address in addresses - self._dials.keys():
            self._dials[address] = _Dial()
        for address in self._dials.keys() - addresses:
            channel = self._dials.pop(address).channel
            if channel is not None:
                self._close(channel)

    def send(self, member_id: str, frame: list[object]) -> None:
        """Queues a frame; dropped when there is no connection, as a network would."""
        channel = self._out.get(member_id)
        if channel is not None:
            self._queue(channel, codec.pack_frame(frame))

    def flush(self) -> None:
        """Lets queued bytes go as far as the sockets take them."""
        for channel in list(self._unflushed):
            self._flush(channel)

    def poll(self, timeout_s: float) -> None:
        """Waits for the network or a wake-up, then delivers what came."""
        self._redial()
        for fd, event in self._epoll.poll(min(timeout_s, self._until_redial_s())):
            if fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
                # Only now: clearing it before the read would lose a wake-up.
                self._signalled = False
            elif self._server is not None and fd == self._server.fileno():
                self._accept(self._server)
            elif (channel := self._channels.get(fd)) is not None:
                self._serve(channel, event)
        self._drop_silent()

    def close_all(self) -> None:
        """Ends every connection and drops what is queued: the generation or the state changed."""
        for channel in list(self._channels.values()):
            self._close(channel)
        for dial in self._dials.values():
            dial.next_s, dial.tries = 0.0, 0

    def close(self) -> None:
        self.close_all()
        if self._server is not None:
            self._server.close()
        self._epoll.close()
        os.close(self._wake_fd)

    # -- dialing and accepting

    def _redial(self) -> None:
        now = self._clock.monotonic_s()
        for address, dial in list(self._dials.items()):
            if dial.channel is None and dial.next_s <= now:
                self._connect(address, dial, now)

    def _until_redial_s(self) -> float:
        now = self._clock.monotonic_s()
        waits = [d.next_s - now for d in self._dials.values() if d.channel is None]
        return max(0.001, min(waits, default=60.0))

    def _connect(self, address: str, dial: _Dial, now: float) -> None:
        dial.next_s = now + _RETRY_S[min(dial.tries, len(_RETRY_S) - 1)]
        dial.tries += 1
        try:
            family, target = _resolve(address)
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError:
            self._listener.unreachable(address, refused=False)
            return
        channel = _Channel(_Stream(sock), address, now, connecting=True)
        outcome = sock.connect_ex(target)
        if outcome not in (0, errno.EINPROGRESS):
            sock.close()
            self._listener.unreachable(address, refused=outcome == errno.ECONNREFUSED)
            return
        dial.channel = channel
        self._channels[sock.fileno()] = channel
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        channel.wants_write = True

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                sock, _ = server.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            channel = _Channel(_Stream(sock), None, self._clock.monotonic_s())
            self._channels[sock.fileno()] = channel
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _drop_silent(self) -> None:
        """Whoever connects and does not say who it is."""
        late = self._clock.monotonic_s() - _HANDSHAKE_S
        for channel in [c for c in self._channels.values() if c.member_id is None]:
            if channel.opened_s < late:
                self._close(channel)

    # -- one connection

    def _serve(self, channel: _Channel, event: int) -> None:
        try:
            if channel.connecting and event & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
                if problem := channel.stream.error():
                    refused = problem == errno.ECONNREFUSED
                    self._listener.unreachable(str(channel.address), refused=refused)
                    self._close(channel)
                    return
                channel.connecting = False
                self._say_hello(channel)
            if event & select.EPOLLOUT:
                self._flush(channel)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(channel)
        except OSError:
            self._close(channel)

    def _say_hello(self, channel: _Channel) -> None:
        self._queue(channel, codec.pack_frame(["hello", self._listener.my_hello().to_value()]))
        self._flush(channel)

    def _receive(self, channel: _Channel) -> None:
        data = channel.stream.receive()
        if data is None:
            return
        if not data:
            self._close(channel)
            return
        channel.inbox += data
        offset, inbox = 0, channel.inbox
        while len(inbox) - offset >= FRAME_HEAD.size:
            length, tag = FRAME_HEAD.unpack_from(inbox, offset)
            if length > limits.FRAME_BYTES:
                self._cut_off(channel, f"a frame of {length} bytes, the limit is 4 MiB")
                return
            end = offset + FRAME_HEAD.size + length
            if len(inbox) < end:
                break
            body = bytes(inbox[offset + FRAME_HEAD.size : end])
            offset = end
            if fault := self._take(channel, tag, body):
                self._cut_off(channel, fault)
            if channel.stream.fileno() < 0 or channel.closing:
                return
        del inbox[:offset]

    def _take(self, channel: _Channel, tag: bytes, body: bytes) -> str | None:
        """Takes one frame; the reason to cut the peer off, or None."""
        try:
            frame = codec.unpack(body)
        except ValueError as error:
            return str(error)
        if not isinstance(frame, list) or not frame:
            return "a frame that is no list"
        if channel.member_id is None:
            return self._take_hello(channel, frame)
        if channel.address is not None:
            return "frames on a connection that only sends"
        if tag != channel.tag:
            return "a frame of another lineage"
        return self._listener.received(channel.member_id, frame)

    def _take_hello(self, channel: _Channel, frame: list[Any]) -> str | None:
        if frame[0] != "hello" or len(frame) != 2:
            return "no hello"
        try:
            theirs = hello_from(frame[1])
        except ValueError as error:
            self._listener.refused(channel.address or "a peer", str(error))
            return str(error)
        mine = self._listener.my_hello()
        judgement = judge(mine, theirs)
        if channel.address is None:
            self._say_hello(channel)
        self._listener.met(channel.address, theirs, judgement)
        if judgement.relation is Relation.PEER:
            self._become_peers(channel, theirs)
        elif channel.address is None:
            channel.closing = True  # our hello must still leave
            self._flush(channel)
        else:
            itself = theirs.boot_nonce == mine.boot_nonce
            if itself and (dial := self._dials.get(channel.address)):
                dial.next_s = self._clock.monotonic_s() + _RETRY_SELF_S
            self._close(channel)
        return None

    def _become_peers(self, channel: _Channel, theirs: Hello) -> None:
        channel.member_id = theirs.member_id
        channel.tag = frame_tag(theirs.cluster_id, theirs.lineage)
        if channel.address is None:
            return
        old = self._out.get(theirs.member_id)
        if old is not None and old is not channel:
            self._close(old)  # the newest one is alive for sure
        self._out[theirs.member_id] = channel
        if dial := self._dials.get(channel.address):
            dial.tries = 0
        self._listener.opened(theirs.member_id)

    def _queue(self, channel: _Channel, body: bytes) -> None:
        channel.outbox += FRAME_HEAD.pack(len(body), channel.tag)
        channel.outbox += body
        self._unflushed.add(channel)
        if len(channel.outbox) > _OUTBOX_BYTES:
            self._close(channel)

    def _flush(self, channel: _Channel) -> None:
        self._unflushed.discard(channel)
        if channel.connecting or channel.stream.fileno() < 0:
            return
        try:
            while channel.outbox:
                sent = channel.stream.send(memoryview(channel.outbox)[:_RECEIVE_BYTES])
                if not sent:
                    break
                del channel.outbox[:sent]
        except OSError:
            self._close(channel)
            return
        if channel.closing and not channel.outbox:
            self._close(channel)
            return
        if bool(channel.outbox) != channel.wants_write:
            channel.wants_write = bool(channel.outbox)
            interest = select.EPOLLIN | (select.EPOLLOUT if channel.wants_write else 0)
            self._epoll.modify(channel.stream.fileno(), interest)

    def _cut_off(self, channel: _Channel, reason: str) -> None:
        self.cut_off += 1
        self._listener.refused(channel.member_id or channel.address or "a peer", reason)
        self._close(channel)

    def _close(self, channel: _Channel) -> None:
        fd = channel.stream.fileno()
        if fd < 0:
            return
        self._channels.pop(fd, None)
        self._epoll.unregister(fd)
        channel.stream.close()
        self._unflushed.discard(channel)
        if channel.address is None:
            if channel.member_id is not None:
                self._listener.peer_gone(channel.member_id)
            return
        if (dial := self._dials.get(channel.address)) and dial.channel is channel:
            dial.channel = None
        if channel.member_id is not None and self._out.get(channel.member_id) is channel:
            del self._out[channel.member_id]
            self._listener.closed(channel.member_id)


def frame_tag(cluster_id: str, lineage: Lineage) -> bytes:
    """Eight bytes that stand for a cluster and the head of its lineage."""
    number, restore_id = lineage[-1]
    return hashlib.sha256(f"{cluster_id} {number} {restore_id}".encode()).digest()[:8]


def _resolve(address: str) -> tuple[int, Any]:
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


def _listen(address: str) -> socket.socket:
    """A bound socket; only loopback until members prove who they are by certificates."""
    try:
        family, target = _resolve(address)
        server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ConfigError(f"raft.listen {address!r} is no address: {error}") from error
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
