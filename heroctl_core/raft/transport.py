"""All connections of one node: who is dialed, who is let in, what they send. The engine's thread.

Each node dials every other one and sends on the connection that it made; what it receives comes on
connections that others made. The tag of a frame binds it to one lineage, so that nothing crosses a
change of generation. A connection begins with a hello in both directions (raft/handshake.py);
unless it makes both sides peers it ends right after, and the dialer tries again later, which is how
nodes of different generations keep telling each other their state.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import socket
import threading
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .. import codec
from ..clock import Clock
from . import channel as channels
from .channel import Channel, Stream
from .handshake import Hello, Judgement, Lineage, Relation, hello_from, judge
from .header import check_hello

_HANDSHAKE_S: Final = 5.0
_RETRY_S: Final = (0.05, 0.1, 0.2, 0.4, 0.5)
_PARKED_S: Final = 30.0  # until an address is tried again that leads to where we are already
_STRANGERS: Final = 128  # connections that have not said who they are
_ACCEPT_PAUSE_S: Final = 1.0  # when the system has no descriptor left


class Listener(Protocol):
    """Who is told what happens on the network; called from `poll`."""

    def my_hello(self) -> Hello: ...
    def met(self, address: str | None, theirs: Hello, judgement: Judgement) -> Judgement:
        """Another node said hello, on a connection to `address` or, None, one that it opened. What
        it is to us: `judgement`, or a refusal."""
        ...

    def unreachable(self, address: str, *, refused: bool) -> None: ...
    def opened(self, member_id: str) -> None: ...
    def closed(self, member_id: str) -> None: ...
    def peer_gone(self, member_id: str) -> None: ...
    def received(self, member_id: str, frame: list[Any]) -> str | None: ...
    def refused(self, what: str, reason: str) -> None: ...


@dataclass(slots=True)
class _Dial:
    """An address that we try to keep a connection to."""

    next_s: float = 0.0
    tries: int = 0
    channel: Channel | None = None
    parked_at: str | None = None  # the member that another address reached first


class Transport:
    """The connections. `address` is where the listener really is."""

    def __init__(self, listen: str | None, listener: Listener, clock: Clock) -> None:
        """Binds at once; ConfigError when the address cannot be had. None: nobody can connect."""
        self._server = channels.listen(listen) if listen is not None else None
        self.address = ""
        if listen is not None and self._server is not None:
            self.address = f"{listen.rpartition(':')[0]}:{self._server.getsockname()[1]}"
        self._listener = listener
        self._clock = clock
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._out: dict[str, Channel] = {}
        self._dials: dict[str, _Dial] = {}
        self._unflushed: set[Channel] = set()
        self.cut_off = 0  # connections that ended because the peer sent rubbish
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._signalled = False
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._open_door = False
        self._accepting = False
        self._accept_at_s = 0.0

    def accept_connections(self) -> None:
        """Opens the door; before, the log must have been taken in (row 12)."""
        if self._server is not None and not self._open_door:
            self._server.listen(64)
            self._open_door = True
            self._go_on_accepting()

    def wake(self) -> None:
        """Ends a `poll` that waits; from any thread, cheap when it was woken already, and nothing
        once the transport is closed."""
        if self._signalled:
            return
        with self._wake_lock:  # or `close` could give the descriptor to somebody else meanwhile
            if self._wake_fd >= 0:
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
        now = self._clock.monotonic_s()
        self._redial(now)
        if self._open_door and not self._accepting and self._accept_at_s <= now:
            self._go_on_accepting()
        for fd, event in self._epoll.poll(min(timeout_s, self._until_redial_s(now))):
            if fd == self._wake_fd:
                self._woken()
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
        """Ends everything; a second call does nothing."""
        self.close_all()
        if self._server is not None:
            self._server.close()
        with self._wake_lock:
            if self._wake_fd >= 0:
                self._epoll.close()
                os.close(self._wake_fd)
                self._wake_fd = -1

    def leave_to_parent(self) -> None:
        """In a fork: closes the copies of the descriptors, which the parent goes on using."""
        for channel in self._channels.values():
            channel.stream.close()
        if self._server is not None:
            self._server.close()
        self._epoll.close()
        os.close(self._wake_fd)
        self._wake_fd = -1

    def _woken(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass  # it was read already
        # Only now: clearing it before the read would lose a wake-up.
        self._signalled = False

    # -- dialing and accepting

    def _redial(self, now: float) -> None:
        for address, dial in list(self._dials.items()):
            if dial.channel is None and dial.next_s <= now:
                self._connect(address, dial, now)

    def _until_redial_s(self, now: float) -> float:
        waits = [d.next_s - now for d in self._dials.values() if d.channel is None]
        return max(0.001, min(waits, default=60.0))

    def _connect(self, address: str, dial: _Dial, now: float) -> None:
        dial.next_s = now + _RETRY_S[min(dial.tries, len(_RETRY_S) - 1)]
        dial.tries += 1
        dial.parked_at = None
        try:
            stream, problem = channels.dial(address)
        except OSError:
            self._listener.unreachable(address, refused=False)
            return
        if problem:
            stream.close()
            self._listener.unreachable(address, refused=problem == errno.ECONNREFUSED)
            return
        channel = Channel(stream, address, now, connecting=True, wants_write=True)
        dial.channel = channel
        self._channels[stream.fileno()] = channel
        self._epoll.register(stream.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                sock, _ = server.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor or memory left: what is open goes on, the others wait.
                self._epoll.unregister(server.fileno())
                self._accepting = False
                self._accept_at_s = self._clock.monotonic_s() + _ACCEPT_PAUSE_S
                return
            self._make_room()
            channel = Channel(Stream(sock), None, self._clock.monotonic_s())
            self._channels[sock.fileno()] = channel
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _go_on_accepting(self) -> None:
        assert self._server is not None
        self._epoll.register(self._server.fileno(), select.EPOLLIN)
        self._accepting = True

    def _make_room(self) -> None:
        """The stranger that waited longest goes when there are too many."""
        strangers = [c for c in self._channels.values() if c.is_stranger]
        if len(strangers) >= _STRANGERS:
            self._close(min(strangers, key=lambda c: c.opened_s))

    def _drop_silent(self) -> None:
        """Whoever connects and does not say who it is."""
        late = self._clock.monotonic_s() - _HANDSHAKE_S
        for channel in [c for c in self._channels.values() if c.member_id is None]:
            if channel.opened_s < late:
                self._close(channel)

    # -- one connection

    def _serve(self, channel: Channel, event: int) -> None:
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
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and channel.is_open:
            self._receive(channel)

    def _say_hello(self, channel: Channel) -> None:
        self._queue(channel, codec.pack_frame(["hello", self._listener.my_hello().to_value()]))
        self._flush(channel)

    def _receive(self, channel: Channel) -> None:
        """Takes every whole frame; whatever the other side sends, only its connection may end."""
        if not channel.fill():
            self._close(channel)
            return
        while channel.is_open and not channel.closing:
            try:
                if (frame := channel.next_frame()) is None:
                    return
                value = codec.unpack(frame[1])
            except ValueError as error:
                self._cut_off(channel, str(error))
                return
            if fault := self._take(channel, frame[0], value):
                self._cut_off(channel, fault)

    def _take(self, channel: Channel, tag: bytes, frame: object) -> str | None:
        """Takes one frame; the reason to cut the peer off, or None."""
        if not isinstance(frame, list) or not frame:
            return "a frame that is no list"
        if channel.member_id is None:
            return self._take_hello(channel, frame)
        if channel.address is not None:
            return "frames on a connection that only sends"
        if tag != channel.tag:
            return "a frame of another lineage"
        return self._listener.received(channel.member_id, frame)

    def _take_hello(self, channel: Channel, frame: list[Any]) -> str | None:
        if frame[0] != "hello" or len(frame) != 2:
            return "no hello"
        try:
            theirs = hello_from(frame[1])
            check_hello(theirs)
        except ValueError as error:
            return str(error)
        mine = self._listener.my_hello()
        if channel.address is None:
            self._say_hello(channel)
        judged = judge(mine, theirs)
        judgement = self._listener.met(channel.address, theirs, judged)
        if judged.relation is Relation.PEER:
            is_peer = judgement.relation is Relation.PEER
            self._end_other_lives(theirs, theirs.boot_nonce if is_peer else None)
        if judgement.relation is Relation.PEER:
            self._become_peers(channel, theirs)
        elif channel.address is None:
            channel.closing = True  # our hello must still leave
            self._flush(channel)
        elif theirs.boot_nonce == mine.boot_nonce:
            self._park(channel, theirs.member_id)
        else:
            self._close(channel)
        return None

    def _end_other_lives(self, theirs: Hello, nonce: str | None) -> None:
        """Hangs up on every process of that peer but the one with this nonce."""
        for other in list(self._channels.values()):
            if other.member_id == theirs.member_id and other.boot_nonce != nonce:
                self._close(other)

    def _become_peers(self, channel: Channel, theirs: Hello) -> None:
        if channel.address is not None:
            old = self._out.get(theirs.member_id)
            if old is not None and old is not channel:
                self._park(channel, theirs.member_id)
                return
        channel.member_id = theirs.member_id
        channel.boot_nonce = theirs.boot_nonce
        channel.tag = frame_tag(theirs.cluster_id, theirs.lineage)
        if channel.address is None:
            return
        self._out[theirs.member_id] = channel
        if dial := self._dials.get(channel.address):
            dial.tries = 0
        self._listener.opened(theirs.member_id)

    def _park(self, channel: Channel, member_id: str) -> None:
        """Hangs up on a second address of a process that we reach already, or of this one."""
        if dial := self._dials.get(channel.address or ""):
            dial.next_s = self._clock.monotonic_s() + _PARKED_S
            dial.parked_at = member_id
        self._close(channel)

    def _queue(self, channel: Channel, body: bytes) -> None:
        self._unflushed.add(channel)
        if not channel.queue(body):
            self._close(channel)

    def _flush(self, channel: Channel) -> None:
        self._unflushed.discard(channel)
        if channel.connecting or not channel.is_open:
            return
        if not channel.flush() or (channel.closing and not channel.has_output):
            self._close(channel)
        elif channel.has_output != channel.wants_write:
            channel.wants_write = channel.has_output
            interest = select.EPOLLIN | (select.EPOLLOUT if channel.wants_write else 0)
            self._epoll.modify(channel.stream.fileno(), interest)

    def _cut_off(self, channel: Channel, reason: str) -> None:
        self.cut_off += 1
        self._listener.refused(channel.member_id or channel.address or "a peer", reason)
        self._close(channel)

    def _close(self, channel: Channel) -> None:
        if not channel.is_open:
            return
        fd = channel.stream.fileno()
        self._channels.pop(fd, None)
        self._epoll.unregister(fd)
        channel.stream.close()
        self._unflushed.discard(channel)
        member_id = channel.member_id
        if channel.address is None:
            if member_id is not None:
                self._listener.peer_gone(member_id)
            return
        if (dial := self._dials.get(channel.address)) and dial.channel is channel:
            dial.channel = None
        if member_id is not None and self._out.get(member_id) is channel:
            del self._out[member_id]
            for other in self._dials.values():
                if other.parked_at == member_id:
                    other.next_s = 0.0  # perhaps the way that still works
            self._listener.closed(member_id)


def frame_tag(cluster_id: str, lineage: Lineage) -> bytes:
    """Eight bytes that stand for a cluster and the head of its lineage."""
    number, restore_id = lineage[-1]
    return hashlib.sha256(f"{cluster_id} {number} {restore_id}".encode()).digest()[:8]
