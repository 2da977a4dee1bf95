"""Ends of connections for tests of the transport: real sockets, polled by the test itself.

A test file that uses the fixtures imports them by name.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from heroctl_core import codec
from heroctl_core.clock import Clock, SystemClock
from heroctl_core.raft.credentials import Trust
from heroctl_core.raft.greeting import NONCE_BYTES, Greeting, Introduction
from heroctl_core.raft.handshake import Hello, Judgement, Relation, frame_tag
from heroctl_core.raft.header import Header
from heroctl_core.raft.membership import Configuration, MemberSpec
from heroctl_core.raft.port import Generation
from heroctl_core.raft.transport import Transport
from heroctl_core.testing.clock import ManualClock

DEADLINE_S = 10.0
CLUSTER_ID = "c" * 32
LINEAGE = ((1, "first"),)
TRUST = Trust(b"derived from the cluster's secrets key")


def hello(
    member_id: str, lineage: tuple[tuple[int, str], ...] = LINEAGE, cluster_id: str = CLUSTER_ID
) -> Hello:
    """What a member of the cluster with `lineage` says; an empty lineage is an empty folder."""
    header = Header(
        cluster_id,
        "prod",
        tuple(Generation(n, r) for n, r in lineage),
        Configuration({"a": MemberSpec("node-a", "127.0.0.1:1", voter=True)}),
        "bootstrap",
        "2026-01-01T00:00:00Z",
    )
    return Hello(
        cluster_name="prod",
        cluster_id=cluster_id if lineage else "",
        lineage=lineage,
        member_id=member_id,
        boot_nonce=f"boot of {member_id}",
        name=f"node-{member_id}",
        address="127.0.0.1:7101",
        key_id="key",
        expect=3,
        header=header.to_value() if lineage else {},
    )


class End:
    """A transport and what it told its listener."""

    def __init__(
        self,
        hello: Hello,
        clock: Clock | None = None,
        *,
        trust: Trust = TRUST,
        listen: str = "127.0.0.1:0",
    ) -> None:
        self.hello = hello
        self.peers: list[str] = []  # whom we can send to
        self.gone: list[str] = []
        self.frames: list[tuple[str, list[Any]]] = []
        self.relations: list[tuple[str, Relation]] = []
        self.refusals: list[str] = []
        self.unreached: list[tuple[str, bool]] = []
        self.cut: str | None = None  # what `received` answers
        self.judge: Callable[[Hello, Judgement], Judgement] = lambda _, judgement: judgement
        self.other_keys: list[Greeting] = []
        self.transport = Transport(listen, self, clock or SystemClock(), trust)
        self.transport.accept_connections()

    @property
    def address(self) -> str:
        return self.transport.address

    def my_hello(self) -> Hello:
        return self.hello

    def met(self, address: str | None, theirs: Hello, judgement: Judgement) -> Judgement:
        judgement = self.judge(theirs, judgement)
        self.relations.append((theirs.member_id, judgement.relation))
        if judgement.reason:
            self.refusals.append(judgement.reason)
        return judgement

    def unreachable(self, address: str, *, refused: bool) -> None:
        self.unreached.append((address, refused))

    def opened(self, member_id: str) -> None:
        self.peers.append(member_id)

    def closed(self, member_id: str) -> None:
        self.peers.remove(member_id)

    def peer_gone(self, member_id: str) -> None:
        self.gone.append(member_id)

    def received(self, member_id: str, frame: list[Any]) -> str | None:
        self.frames.append((member_id, frame))
        return self.cut

    def refused(self, what: str, reason: str) -> None:
        self.refusals.append(reason)

    def met_other_key(self, theirs: Greeting) -> None:
        self.other_keys.append(theirs)


def run(ends: list[End], condition: Callable[[], object], *, timeout_s: float = DEADLINE_S) -> None:
    """Polls all ends in turn until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, [
            (e.hello.member_id, e.relations, e.refusals, e.peers, e.unreached) for e in ends
        ]
        for end in ends:
            end.transport.poll(0.005)
            end.transport.flush()


def connect(one: End, other: End) -> None:
    """Both dial each other and become peers, in both directions."""
    one.transport.dial({other.address})
    other.transport.dial({one.address})
    run([one, other], lambda: one.peers and other.peers)


@dataclass(frozen=True)
class Said:
    """A hello that says `value` instead, with a valid proof."""

    hello: Hello
    value: object

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hello, name)

    def to_value(self) -> object:
        return self.value


class Raw:
    """A peer that sends exactly what the test says."""

    def __init__(self, end: End, accepted: socket.socket | None = None) -> None:
        self.end = end
        self.dialed = accepted is None
        host, _, port = end.address.rpartition(":")
        self.socket = accepted or socket.create_connection((host, int(port)), timeout=DEADLINE_S)
        self.socket.setblocking(False)
        self.got = b""
        self.ended = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def say_hello(self, said: Hello | Said, key: bytes = TRUST.key) -> None:
        """Introduces itself as far as its hello and proof; what it sends then is not sealed."""
        said = replace(said, seals=False) if isinstance(said, Hello) else said
        introduction = Introduction(
            lambda: said,  # type: ignore[arg-type, return-value]
            key,
            dialed=self.dialed,
            certificate=None,
            nonce=os.urandom(NONCE_BYTES),
        )
        if self.dialed:
            self.send(framed(introduction.greet()))
        for count in (1,) if self.dialed else (1, 2):
            run([self.end], lambda count=count: self.look() or len(self.frames()) >= count)
            if len(self.frames()) >= count:
                for reply in introduction.take(self.frames()[count - 1]).replies:
                    self.send(framed(reply))

    def frames(self) -> list[Any]:
        """The whole frames that have come."""
        found, at = [], 0
        while len(self.got) >= at + 12:
            length = struct.unpack_from(">I", self.got, at)[0]
            if len(self.got) < at + 12 + length:
                break
            found.append(codec.unpack(self.got[at + 12 : at + 12 + length]))
            at += 12 + length
        return found

    def look(self) -> bool:
        """Takes in what came; whether the other side has closed."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return self.ended
        except ConnectionError:
            data = b""
        self.got += data
        self.ended = self.ended or not data
        return self.ended

    def close(self) -> None:
        self.socket.close()


def framed(value: object, tag: bytes = bytes(8)) -> bytes:
    """A frame as it stands on the wire."""
    body = codec.pack_frame(value)
    return struct.pack(">I8s", len(body), tag) + body


TAG = frame_tag(CLUSTER_ID, LINEAGE)


def other(said: Hello, **fields: object) -> Hello:
    """The same with other values."""
    return replace(said, **fields)  # type: ignore[arg-type]


Make = Callable[..., End]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes ends that are closed after the test."""
    with ExitStack() as stack:

        def make_end(said: Hello, clock: ManualClock | None = None, **more: Any) -> End:
            end = End(said, clock, **more)
            stack.callback(end.transport.close)
            return end

        yield make_end


@pytest.fixture
def pair(make: Make) -> tuple[End, End]:
    """Two peers that are connected both ways."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    return one, two


def still_works(pair: tuple[End, End]) -> bool:
    """Whether frames of `a`, the first, still reach `b`, in order."""
    one, two = pair
    before = len(two.frames)
    for number in range(3):
        one.transport.send("b", ["ping", number])
    run([one, two], lambda: len(two.frames) == before + 3)
    return two.frames[before:] == [("a", ["ping", number]) for number in range(3)]
