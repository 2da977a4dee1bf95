"""All connections of one node: who is dialed, who is let in, what they send. The engine's thread.

Each node dials every other one and sends on the connection that it made; what it receives comes on
connections that others made. The tag of a frame binds it to one lineage, so that nothing crosses a
change of generation. A connection begins with TLS where there are certificates, then both sides
prove that they have the cluster's key and say hello (raft/greeting.py). Unless that makes them
peers it ends right after, and the dialer tries again later, which is how nodes of different
generations keep telling each other their state.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from typing import Any, Final

from .. import codec
from ..clock import Clock
from .addresses import Resolver
from .channel import Channel, Stream
from .credentials import Trust
from .dials import Dial, Dials
from .door import Door
from .greeting import NONCE_BYTES, Introduction
from .handshake import Hello, Relation, judge
from .header import check_hello
from .listener import Listener
from .tls_stream import TlsStream

_HANDSHAKE_S: Final = 5.0
_UPKEEP_S: Final = 1.0  # at most so long nobody looks for what is due by time
_STRANGERS: Final = 128  # connections that have not said who they are
_STRANGERS_A_POLL: Final = 8  # served at once: their handshakes take time that members need
_BULK: Final = frozenset({"inst"})  # frames that let the others go first


class Transport:
    """The connections. `address` is where the listener really is."""

    def __init__(self, listen: str | None, listener: Listener, clock: Clock, trust: Trust) -> None:
        """Binds at once; ConfigError when the address cannot be had. None: nobody can connect."""
        self._trust = trust
        self._listener = listener
        self._clock = clock
        self._epoll = select.epoll()
        self._door: Door | None = None
        if listen is not None:
            self._door = Door(listen, self._epoll, anywhere=trust.credentials is not None)
        self.address = self._door.address if self._door is not None else ""
        self._resolver = Resolver(self.wake)
        self._channels: dict[int, Channel] = {}
        self._out: dict[str, Channel] = {}
        self._dials = Dials()
        self._unflushed: set[Channel] = set()
        self._upkeep_s = 0.0  # when something is due by time
        self.cut_off = 0  # connections that ended because the peer sent rubbish
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._signalled = False
        # Told once for each write, so that nobody has to read it.
        self._epoll.register(self._wake_fd, select.EPOLLIN | select.EPOLLET)

    def accept_connections(self) -> None:
        """Opens the door; before, the log must have been taken in (row 12)."""
        if self._door is not None:
            self._door.open()

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
        for channel in self._dials.want(addresses):
            self._close(channel)
        self._upkeep_s = 0.0

    def send(self, member_id: str, frame: list[object]) -> None:
        """Queues a frame; dropped when there is no connection, as a network would."""
        channel = self._out.get(member_id)
        if channel is not None:
            self._queue(channel, frame)

    def flush(self) -> None:
        """Lets queued bytes go as far as the sockets take them."""
        for channel in list(self._unflushed):
            self._flush(channel)

    def poll(self, timeout_s: float) -> None:
        """Waits for the network or a wake-up, then delivers what came."""
        now = self._clock.monotonic_s()
        if now >= self._upkeep_s:
            self._upkeep_s = self._keep_up(now)
        strangers = 0
        for fd, event in self._epoll.poll(min(timeout_s, self._upkeep_s - now)):
            if fd == self._wake_fd:
                self._signalled = False  # before anybody looks at what it was for
                if self._dials.any_resolving:
                    self._upkeep_s = 0.0  # perhaps a name server has answered
            elif self._door is not None and fd == self._door.fileno():
                self._accept(self._door)
            elif (channel := self._channels.get(fd)) is not None:
                strangers += channel.is_stranger
                if not channel.is_stranger or strangers <= _STRANGERS_A_POLL:
                    self._serve(channel, event)

    def close_all(self) -> None:
        """Ends every connection and drops what is queued: the generation or the state changed."""
        for channel in list(self._channels.values()):
            self._close(channel)
        self._dials.all_due()
        self._upkeep_s = 0.0

    def drop(self, member_id: str) -> None:
        """Ends the connections with one member; it may come back with a new hello."""
        for channel in [c for c in self._channels.values() if c.member_id == member_id]:
            self._close(channel)

    def close(self) -> None:
        """Ends everything; a second call does nothing."""
        self.close_all()
        if self._door is not None:
            self._door.close()
        with self._wake_lock:
            if self._wake_fd >= 0:
                self._epoll.close()
                os.close(self._wake_fd)
                self._wake_fd = -1

    def leave_to_parent(self) -> None:
        """In a fork: closes the copies of the descriptors, which the parent goes on using."""
        for channel in self._channels.values():
            channel.stream.close()
        if self._door is not None:
            self._door.close()
        self._epoll.close()
        os.close(self._wake_fd)
        self._wake_fd = -1

    # -- dialing and accepting

    def _keep_up(self, now: float) -> float:
        """Does what is due by time; when the next of it will be."""
        for address, dial in self._dials.due(now):
            self._connect(address, dial, now)
        if self._door is not None:
            self._door.look(now)
        next_s = now + min(self._dials.wait_s(now), _UPKEEP_S)
        for channel in [c for c in self._channels.values() if c.member_id is None]:
            if channel.opened_s < now - _HANDSHAKE_S:  # it connects and does not say who it is
                self._close(channel)
            else:
                next_s = min(next_s, channel.opened_s + _HANDSHAKE_S)
        return max(next_s, now + 0.001)

    def _connect(self, address: str, dial: Dial, now: float) -> None:
        try:
            targets = self._resolver.look_up(address)
            dial.resolving = targets is None
            if targets is None:
                return
            family, target = targets[dial.try_again(now) % len(targets)]
            stream = Stream(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        except OSError:
            dial.resolving = False
            dial.try_again(now)
            self._listener.unreachable(address, refused=False)
            return
        problem = stream.connect(target)
        if problem not in (0, errno.EINPROGRESS):
            stream.close()
            self._listener.unreachable(address, refused=problem == errno.ECONNREFUSED)
            return
        channel = Channel(stream, address, now, address, connecting=True, wants_write=True)
        dial.channel = channel
        self._channels[stream.fileno()] = channel
        self._epoll.register(stream.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _accept(self, door: Door) -> None:
        now = self._clock.monotonic_s()
        for _ in range(_STRANGERS_A_POLL):
            if (accepted := door.accept(now)) is None:
                return
            sock, host = accepted
            self._make_room()
            channel = Channel(Stream(sock), None, now, f"a peer at {host}")
            self._channels[sock.fileno()] = channel
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._upkeep_s = min(self._upkeep_s, now + _HANDSHAKE_S)
            self._begin_tls(channel)

    def _make_room(self) -> None:
        """The stranger that waited longest goes when there are too many."""
        strangers = [c for c in self._channels.values() if c.is_stranger]
        if len(strangers) >= _STRANGERS:
            self._close(min(strangers, key=lambda c: c.opened_s))

    # -- one connection

    def _serve(self, channel: Channel, event: int) -> None:
        if event == select.EPOLLIN and channel.member_id is not None:  # nearly always
            self._receive(channel)
            return  # what a member sends is answered on the other connection
        if channel.connecting and event & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
            if problem := channel.stream.error():
                refused = problem == errno.ECONNREFUSED
                self._listener.unreachable(str(channel.address), refused=refused)
                self._close(channel)
                return
            channel.connecting = False
            self._begin_tls(channel)
        if channel.introduction is None and channel.is_open and not channel.connecting:
            self._secure(channel)
        if channel.introduction is None or not channel.is_open:
            return
        if event & select.EPOLLOUT:
            self._flush(channel)
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and channel.is_open:
            self._receive(channel)
            self._flush(channel)

    def _begin_tls(self, channel: Channel) -> None:
        if self._trust.credentials is None:
            return
        contexts, server_side = self._trust.credentials.contexts, channel.address is None
        context = contexts.server if server_side else contexts.client
        fd = channel.stream.fileno()
        try:
            channel.stream = TlsStream(channel.stream, context, server_side=server_side)
        except OSError:  # it has hung up already; the socket is closed
            self._forget(channel, fd)

    def _secure(self, channel: Channel) -> None:
        """Goes on with the TLS handshake; when it is done both sides introduce themselves."""
        try:
            awaited = channel.stream.secure()
        except ValueError as error:
            self._cut_off(channel, str(error))
            return
        except OSError:
            self._close(channel)
            return
        if awaited:
            channel.wants_write = bool(awaited & select.EPOLLOUT)
            self._epoll.modify(channel.stream.fileno(), select.EPOLLIN | awaited)
            return
        channel.introduction = Introduction(
            self._listener.my_hello,
            self._trust.key,
            dialed=channel.address is not None,
            certificate=channel.stream.certificate,
            nonce=os.urandom(NONCE_BYTES),
        )
        if channel.address is not None:
            self._queue(channel, channel.introduction.greet())
        self._flush(channel)

    def _receive(self, channel: Channel) -> None:
        """Takes every whole frame; whatever the other side sends, only its connection may end."""
        try:
            if not channel.fill():
                self._close(channel)
                return
            if channel.closing:
                channel.drop_input()
            while channel.is_open and not channel.closing:
                if (frame := channel.next_frame()) is None:
                    return
                if fault := self._take(channel, frame[0], codec.unpack(frame[1])):
                    self._cut_off(channel, fault)
        except ValueError as error:
            self._cut_off(channel, str(error))

    def _take(self, channel: Channel, tag: bytes, frame: object) -> str | None:
        """Takes one frame; the reason to cut the peer off, or None."""
        if not isinstance(frame, list) or not frame:
            return "a frame that is no list"
        if channel.member_id is None:
            self._introduce(channel, frame)
            return None
        if channel.address is not None:
            return "frames on a connection that only sends"
        if tag != channel.tag:
            return "a frame of another lineage"
        return self._listener.received(channel.member_id, frame)

    def _introduce(self, channel: Channel, frame: list[Any]) -> None:
        """Takes a frame of one that is no peer yet; ValueError when it must be cut off."""
        assert channel.introduction is not None
        mine = self._listener.my_hello()
        taken = channel.introduction.take(frame)
        for reply in taken.replies:
            self._queue(channel, reply)
        if taken.refusal:
            if taken.other_key is not None and channel.address is not None:
                self._listener.met_other_key(taken.other_key)
            self._listener.refused(channel.introduction.name or channel.where, taken.refusal)
            channel.closing = True  # our reason must still leave
        elif taken.hello is not None:
            self._meet(channel, mine, taken.hello)

    def _meet(self, channel: Channel, mine: Hello, theirs: Hello) -> None:
        """Both have proved that they have the key: what they are to each other."""
        check_hello(theirs)
        judged = judge(mine, theirs)
        judgement = self._listener.met(channel.address, theirs, judged)
        if judged.relation is Relation.PEER:
            is_peer = judgement.relation is Relation.PEER
            self._end_other_lives(theirs, theirs.boot_nonce if is_peer else None)
        if judgement.relation is Relation.PEER:
            self._become_peers(channel, theirs)
        elif channel.address is None:
            channel.closing = True  # our hello must still leave
        elif theirs.boot_nonce == mine.boot_nonce:
            self._park(channel, theirs.member_id)
        else:
            self._close(channel)

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
        channel.become_peer(theirs)
        if channel.address is None:
            return
        self._out[theirs.member_id] = channel
        self._dials.reached(channel)
        self._listener.opened(theirs.member_id)

    def _park(self, channel: Channel, member_id: str) -> None:
        """Hangs up on a second address of a process that we reach already, or of this one."""
        self._dials.park(channel, member_id, self._clock.monotonic_s())
        self._close(channel)

    def _queue(self, channel: Channel, frame: list[object]) -> None:
        self._unflushed.add(channel)
        if not channel.queue(codec.pack_frame(frame), bulk=frame[0] in _BULK):
            self._close(channel)

    def _flush(self, channel: Channel) -> None:
        self._unflushed.discard(channel)
        if channel.connecting or not channel.is_open:
            return
        if not channel.flush():
            self._close(channel)
        elif channel.closing and not channel.has_output:
            channel.stream.end()  # the other end hangs up when it has read it all
        elif channel.has_output != channel.wants_write:
            channel.wants_write = channel.has_output
            interest = select.EPOLLIN | (select.EPOLLOUT if channel.wants_write else 0)
            self._epoll.modify(channel.stream.fileno(), interest)

    def _cut_off(self, channel: Channel, reason: str) -> None:
        self.cut_off += 1
        self._listener.refused(channel.member_id or channel.where, reason)
        self._close(channel)

    def _close(self, channel: Channel) -> None:
        if not channel.is_open:
            return
        fd = channel.stream.fileno()
        self._epoll.unregister(fd)
        channel.stream.close()
        self._forget(channel, fd)

    def _forget(self, channel: Channel, fd: int) -> None:
        """Drops what belongs to a connection whose socket is closed."""
        self._channels.pop(fd, None)
        self._unflushed.discard(channel)
        member_id = channel.member_id
        if channel.address is None:
            if member_id is not None:
                self._listener.peer_gone(member_id)
            return
        self._dials.closed(channel)
        self._upkeep_s = 0.0
        if member_id is not None and self._out.get(member_id) is channel:
            del self._out[member_id]
            self._dials.lost(member_id)
            self._listener.closed(member_id)
