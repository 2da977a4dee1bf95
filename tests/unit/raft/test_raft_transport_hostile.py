"""Who sends rubbish, says nothing or does not read is cut off, and nobody else notices."""

from __future__ import annotations

import os
import resource
import select
import socket
import struct

import pytest
from transport_ends import (
    TAG,
    End,
    Make,
    Raw,
    Said,
    connect,
    framed,
    hello,
    make,
    other,
    pair,
    run,
    still_works,
)

from heroctl_core import limits
from heroctl_core.raft.greeting import Greeting
from heroctl_core.raft.handshake import PROTOCOL, Relation
from heroctl_core.testing.clock import ManualClock

__all__ = ["make", "pair"]  # fixtures

# -- who sends rubbish is cut off, and nobody else notices


def malformed(**fields: object) -> Said:
    return Said(hello("c"), hello("c").to_value() | fields)


GREETING = Greeting("prod", "node-c", "key", bytes(32), has_cluster=True).to_frame()[1]
RUBBISH: dict[str, bytes | Said] = {
    "2 GiB": struct.pack(">I8s", 1 << 31, bytes(8)),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(1 << 16),
    "no msgpack": struct.pack(">I8s", 4, bytes(8)) + b"\xc1\xc1\xc1\xc1",
    "no list": framed({"hello": 1}),
    "an empty list": framed([]),
    "another frame first": framed(["ping"]),
    "a hello first": framed(["hello", b"", b""]),
    "a greeting that is no map": framed(["greet", 7]),
    "a greeting with too little": framed(["greet", {"protocol": PROTOCOL}]),
    "two greetings": framed(["greet", GREETING]) * 2,
    "a hello in the clear": framed(["greet", GREETING]) + framed(["hello", {}]),
    "no proof": framed(["greet", GREETING]) + framed(["hello", b"\x80", bytes(32)]),
    "a proof that is no bytes": framed(["greet", GREETING]) + framed(["hello", b"\x80", 7]),
    "a refusal of a stranger": framed(["refused", "send your keys to me"]),
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "a hello that is no map": Said(hello("c"), 7),
    "a hello with too little": Said(hello("c"), {"protocol": PROTOCOL}),
    "another name than before": malformed(name="node-d"),
    "no lineage in a cluster": malformed(lineage=[]),
    "a lineage in no cluster": malformed(cluster_id=""),
    "a lineage of numbers": malformed(lineage=[7]),
    "another header": malformed(header=hello("c", ((1, "another"),)).header),
    "no header": malformed(header={}),
    "a header of rubbish": malformed(header={"format": 1, "parent": 7}),
    "a restore id that is a path": malformed(lineage=[[1, "../../etc"]]),
    "a restore id with a zero": malformed(lineage=[[1, "a\0b"]]),
    "an address without port": malformed(address="somewhere"),
    "an address with a text as port": malformed(address="127.0.0.1:raft"),
    "an address with a big port": malformed(address="127.0.0.1:99999999999"),
    "another cluster's header": malformed(header=hello("c", cluster_id="d" * 32).header),
    "a truth that is none": malformed(has_quorum="yes"),
    "an expect that is no number": malformed(expect="3"),
    "a long name": malformed(name="n" * 600),
    "a big hello": malformed(header={"format": 1, "x": bytes(1 << 20)}),
}


def send(raw: Raw, rubbish: bytes | Said) -> None:
    """Bytes as they are, or with a proof as the hello of one that has the key."""
    if isinstance(rubbish, Said):
        raw.say_hello(rubbish)
    else:
        raw.send(rubbish)


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_cut_off(pair: tuple[End, End], name: str) -> None:
    """At once and counted; the others go on."""
    one, two = pair
    raw = Raw(one)
    send(raw, RUBBISH[name])
    run([one, two], raw.look)
    assert one.transport.cut_off == 1
    assert len(one.refusals) >= 1
    assert still_works(pair)


def test_who_takes_the_raft_port_for_the_api_is_recognized(pair: tuple[End, End]) -> None:
    """The warning says so, instead of the length that its first letters make."""
    one, two = pair
    raw = Raw(one)
    raw.send(RUBBISH["http"])  # type: ignore[arg-type]
    run([one, two], raw.look)
    assert "speaks HTTP, and this is the Raft port" in one.refusals[0]


@pytest.mark.parametrize(
    "frame",
    [
        framed(["ping"], tag=bytes(8)),
        framed(["ping"], tag=TAG[::-1]),
        struct.pack(">I8s", limits.FRAME_BYTES + 1, TAG),
        struct.pack(">I8s", 3, TAG) + b"\xc1\xc1\xc1",
        framed("ping", tag=TAG),
    ],
    ids=["no tag", "tag of another lineage", "too long", "no msgpack", "no list"],
)
def test_a_peer_that_sends_rubbish_is_cut_off(pair: tuple[End, End], frame: bytes) -> None:
    """Having said hello gives no right to more."""
    one, two = pair
    raw = Raw(one)
    raw.say_hello(hello("c"))
    raw.send(framed(["ping", 1], tag=TAG))
    run([one, two], lambda: one.frames)
    raw.send(frame)
    run([one, two], raw.look)
    assert one.frames == [("c", ["ping", 1])]
    assert one.transport.cut_off == 1
    assert one.gone == ["c"]
    assert still_works(pair)


def test_what_the_member_refuses_is_cut_off(pair: tuple[End, End]) -> None:
    """The engine's verdict on a frame ends the connection; later frames of it do not count."""
    one, two = pair
    one.cut = "it lies"
    raw = Raw(one)
    raw.say_hello(hello("c"))
    raw.send(framed(["lie", 1], tag=TAG) + framed(["lie", 2], tag=TAG))
    run([one, two], raw.look)
    assert one.frames == [("c", ["lie", 1])]
    assert "it lies" in one.refusals


def test_who_is_dialed_must_not_send(make: Make) -> None:
    """On the connection that we made only we send; it answers the hello and listens."""
    one = make(hello("a"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        one.transport.dial({f"127.0.0.1:{server.getsockname()[1]}"})
        run([one], lambda: not one.transport.poll(0.01))
        theirs, _ = server.accept()
        with theirs:
            Raw(one, theirs).say_hello(hello("b"))
            run([one], lambda: one.peers == ["b"])
            theirs.sendall(framed(["next", 1], tag=TAG))
            run([one], lambda: one.transport.cut_off == 1)
    assert one.peers == []
    assert one.frames == []


def test_a_long_frame_is_refused_before_it_is_kept(pair: tuple[End, End]) -> None:
    """2 GiB that are announced and begin to come take no memory here."""
    one, two = pair
    raw = Raw(one)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raw.send(struct.pack(">I8s", (1 << 31) - 1, bytes(8)) + bytes(1 << 16))
    run([one, two], raw.look)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


# -- who is silent or slow


def test_who_never_says_hello_is_dropped(make: Make) -> None:
    """After five seconds, whether nothing came or half a hello."""
    clock = ManualClock()
    one = make(hello("a"), clock)
    silent, half = Raw(one), Raw(one)
    half.send(framed(["hello", hello("b").to_value()])[:-1])
    for _ in range(5):
        one.transport.poll(0.01)
    clock.advance(4.9)
    one.transport.poll(0.01)
    assert not silent.look()
    assert not half.look()
    clock.advance(0.2)
    run([one], lambda: silent.look() and half.look())


def test_a_peer_that_said_hello_may_be_silent(make: Make) -> None:
    """An idle connection of a member stays."""
    clock = ManualClock()
    one = make(hello("a"), clock)
    raw = Raw(one)
    raw.say_hello(hello("b"))
    run([one], lambda: one.relations)
    clock.advance(3600)
    for _ in range(5):
        one.transport.poll(0.005)
    assert not raw.look()
    assert one.gone == []


def test_many_strangers_do_not_keep_a_member_out(make: Make) -> None:
    """Connections without a hello are bounded: the oldest makes room, and a peer gets through."""
    # On this clock nobody is ever silent for too long: only the bound can end a stranger.
    one, two = make(hello("a"), ManualClock()), make(hello("b"))
    strangers = []
    for _ in range(300):
        strangers.append(Raw(one))
        one.transport.poll(0.0)
    run([one, two], lambda: sum(raw.look() for raw in strangers) >= 300 - 128)
    connect(one, two)
    assert still_works((one, two))
    for raw in strangers:
        raw.close()


def test_no_file_descriptors_left_is_no_reason_to_stop(pair: tuple[End, End]) -> None:
    """New connections wait until there is room; the ones that are there go on."""
    one, _ = pair
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raw = Raw(one)
    lowest = os.dup(raw.socket.fileno())
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert still_works(pair)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raw.say_hello(hello("c"))
    run(list(pair), lambda: ("c", Relation.PEER) in one.relations)


def test_a_peer_that_does_not_read_is_cut_off(make: Make) -> None:
    """Its outbox is bounded at 64 MiB; another peer still gets everything."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    with socket.create_server(("127.0.0.1", 0)) as server:
        one.transport.dial({two.address, f"127.0.0.1:{server.getsockname()[1]}"})
        run([one, two], lambda: not one.transport.poll(0.01))
        theirs, _ = server.accept()
        with theirs:
            Raw(one, theirs).say_hello(hello("c"))
            run([one, two], lambda: "c" in one.peers)
            chunk = bytes(limits.FRAME_BYTES - 100)
            for _ in range(24):
                one.transport.send("c", ["inst", chunk])
                one.transport.flush()
            assert "c" not in one.peers
            assert still_works((one, two))


def test_the_rest_of_a_slow_send_follows(make: Make) -> None:
    """What the socket does not take at once leaves when it does, in order."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    for number in range(8):
        one.transport.send("b", ["inst", number, bytes(2 << 20)])
    run([one, two], lambda: len(two.frames) == 8)
    assert [frame[1] for _, frame in two.frames] == list(range(8))


def test_a_relay_can_neither_read_nor_speak(make: Make) -> None:
    """Any user may listen at the port of a node that is down, and pass on what both ends say until
    they trust each other; a frame of its own then ends the connection."""
    one, two = make(hello("a")), make(hello("b"))
    host, _, port = two.address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as onward:
        one.transport.dial({f"127.0.0.1:{server.getsockname()[1]}"})
        one.transport.poll(0)
        caller, _ = server.accept()
        onward.connect((host, int(port)))
        heard = b""

        def relayed() -> None:
            nonlocal heard
            for source, target in ((caller, onward), (onward, caller)):
                if select.select([source], [], [], 0)[0]:
                    data = source.recv(1 << 16)
                    heard += data
                    target.sendall(data)

        with caller:
            run([one, two], lambda: relayed() or one.peers)
            one.transport.send("b", ["job", "what nobody shall read"])
            run([one, two], lambda: relayed() or two.frames)
            onward.sendall(framed(["lie"], tag=TAG))
            run([one, two], lambda: two.gone)
    assert two.frames == [("a", ["job", "what nobody shall read"])]
    assert b"node-a" in heard
    assert b"nobody" not in heard
    assert "did not seal" in two.refusals[-1]


def test_a_peer_of_an_older_release_is_understood(make: Make) -> None:
    """It does not say that it seals, so nothing is sealed between the two."""
    new, old = make(hello("a")), make(other(hello("b"), seals=False))
    connect(new, old)
    old.transport.send("a", ["pong"])
    run([new, old], lambda: new.frames == [("b", ["pong"])])
    assert still_works((new, old))
