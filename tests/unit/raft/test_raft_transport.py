"""Members meet over real sockets on loopback; who does not belong here disturbs nobody."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from transport_ends import (
    CLUSTER_ID,
    DEADLINE_S,
    LINEAGE,
    TAG,
    End,
    Raw,
    connect,
    framed,
    hello,
    other,
    run,
)

from heroctl_core import limits
from heroctl_core.clock import SystemClock
from heroctl_core.errors import ConfigError
from heroctl_core.raft.handshake import Hello, Relation
from heroctl_core.raft.transport import Transport, frame_tag
from heroctl_core.testing.clock import ManualClock

Make = Callable[..., End]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes ends that are closed after the test."""
    with ExitStack() as stack:

        def make_end(said: Hello, clock: ManualClock | None = None) -> End:
            end = End(said, clock)
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
    """Whether frames go on between the two, in order."""
    one, two = pair
    before = len(two.frames)
    for number in range(3):
        one.transport.send("b", ["ping", number])
    run([one, two], lambda: len(two.frames) == before + 3)
    return two.frames[before:] == [("a", ["ping", number]) for number in range(3)]


# -- peers


def test_peers_exchange_frames_in_order(pair: tuple[End, End]) -> None:
    """Small and big frames arrive whole, in order, under the sender's member id."""
    one, two = pair
    sent = [["ae", number, bytes(size)] for number, size in enumerate((0, 1, 1 << 20, 70_000, 3))]
    for frame in sent:
        one.transport.send("b", frame)
    run([one, two], lambda: len(two.frames) == len(sent))
    assert two.frames == [("a", frame) for frame in sent]
    assert still_works((one, two))


def test_a_frame_for_nobody_is_dropped(pair: tuple[End, End]) -> None:
    """As a network would; the sender does not wait."""
    pair[0].transport.send("nobody", ["ping"])
    assert still_works(pair)


@pytest.mark.parametrize(
    ("mine", "theirs", "relations"),
    [
        (hello("a", ()), hello("b", ()), (Relation.BOTH_EMPTY, Relation.BOTH_EMPTY)),
        (hello("a"), hello("b", ()), (Relation.JOINER, Relation.HOST)),
        (hello("a"), hello("b", (*LINEAGE, (2, "x"))), (Relation.NEWER, Relation.OLDER)),
        (hello("a"), other(hello("b"), suspended=True), (Relation.ASIDE, Relation.ASIDE)),
    ],
    ids=["both empty", "joiner", "newer", "aside"],
)
def test_others_learn_of_each_other_and_part(
    make: Make, mine: Hello, theirs: Hello, relations: tuple[Relation, Relation]
) -> None:
    """No Raft frame flows, but both tell each other again and again how they are."""
    one, two = make(mine), make(theirs)
    one.transport.dial({two.address})
    run([one, two], lambda: len(one.relations) >= 3 and len(two.relations) >= 3)
    assert {r for _, r in one.relations} == {relations[0]}
    assert {r for _, r in two.relations} == {relations[1]}
    assert not one.peers
    assert not two.peers


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (other(hello("b"), cluster_name="dev"), "cluster 'dev'"),
        (hello("b", cluster_id="d" * 32), "cluster id is dddddddd"),
        (other(hello("b"), key_id="other"), "secrets key is other"),
        (hello("b", ((1, "another"),)), "fork: node-b"),
        (other(hello("a"), boot_nonce="a copy"), "a data folder was copied"),
    ],
    ids=["name", "cluster id", "key", "fork", "copied folder"],
)
def test_a_stranger_is_refused_with_a_reason(make: Make, theirs: Hello, reason: str) -> None:
    """Both sides say why, and nothing else is exchanged."""
    one, two = make(hello("a")), make(theirs)
    one.transport.dial({two.address})
    run([one, two], lambda: one.refusals and two.refusals)
    assert reason in one.refusals[0]
    assert {r for _, r in one.relations + two.relations} == {Relation.REFUSED}
    assert not one.peers
    assert not two.peers


def test_another_protocol_is_refused(make: Make, pair: tuple[End, End]) -> None:
    """The reason names both numbers."""
    raw = Raw(pair[0])
    raw.say_hello(other(hello("c"), protocol=2))
    run([pair[0]], raw.look)
    assert "protocol 2, this node speaks 1" in pair[0].refusals[0]
    assert still_works(pair)


def test_a_node_that_dials_itself_notices(make: Make) -> None:
    """A peer list that names this node too does no harm."""
    one = make(hello("a"))
    one.transport.dial({one.address})
    run([one], lambda: one.relations)
    assert one.refusals == ["itself"] * len(one.refusals)
    assert not one.peers


# -- who sends rubbish is cut off, and nobody else notices


def malformed(**fields: object) -> bytes:
    return framed(["hello", hello("c").to_value() | fields])


RUBBISH = {
    "2 GiB": struct.pack(">I8s", 1 << 31, bytes(8)),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(1 << 16),
    "no msgpack": struct.pack(">I8s", 4, bytes(8)) + b"\xc1\xc1\xc1\xc1",
    "no list": framed({"hello": 1}),
    "an empty list": framed([]),
    "another frame first": framed(["ping"]),
    "a hello that is no map": framed(["hello", 7]),
    "a hello with too little": framed(["hello", {"protocol": 1}]),
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


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_cut_off(pair: tuple[End, End], name: str) -> None:
    """At once and counted; the others go on."""
    one, two = pair
    raw = Raw(one)
    raw.send(RUBBISH[name])
    run([one, two], raw.look)
    assert one.transport.cut_off == 1
    assert len(one.refusals) >= 1
    assert still_works(pair)


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
            theirs.sendall(framed(["hello", hello("b").to_value()]))
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
    one, two = make(hello("a")), make(hello("b"))
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
            theirs.sendall(framed(["hello", hello("c").to_value()]))
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


# -- connections end and come back


def test_a_peer_that_ends_is_noticed_and_found_again(make: Make) -> None:
    """Both directions are reported at once; a new process at the address is dialed again."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    address = two.address
    two.transport.close()
    run([one], lambda: not one.peers and one.gone == ["b"])
    run([one], lambda: (address, True) in one.unreached)
    again = Transport(address, two, SystemClock())
    two.transport = again
    two.peers.clear()
    again.accept_connections()
    run([one, two], lambda: one.peers == ["b"])
    assert still_works((one, two))


def test_the_newest_connection_counts(pair: tuple[End, End]) -> None:
    """A member that is reached at a second address is one peer, over the newer connection."""
    one, two = pair
    port = two.address.rpartition(":")[2]
    one.transport.dial({two.address, f"localhost:{port}"})
    run([one, two], lambda: len(two.relations) >= 3)
    run([one, two], lambda: one.peers == ["b"])
    assert still_works(pair)


def test_nobody_is_dialed_any_more(pair: tuple[End, End]) -> None:
    """An address that is not wanted is hung up."""
    one, two = pair
    one.transport.dial(set())
    run([one, two], lambda: two.gone == ["a"])
    assert one.peers == []


def test_all_connections_end_and_come_back(pair: tuple[End, End]) -> None:
    """A change of generation drops what is queued and begins with a new hello."""
    one, two = pair
    one.transport.send("b", ["old"])
    one.transport.close_all()
    assert one.peers == []
    run([one, two], lambda: one.peers == ["b"] and two.peers == ["a"])
    assert ("a", ["old"]) not in two.frames
    assert still_works(pair)


def test_an_address_that_means_nothing_is_unreachable(make: Make) -> None:
    """Not refused: nobody said no."""
    one = make(hello("a"))
    wrong = {"127.0.0.1:raft", "nothing", "127.0.0.1:99999", "x" * 70 + ".example:1", ""}
    one.transport.dial(wrong)
    run([one], lambda: {address for address, _ in one.unreached} == wrong)
    assert not any(refused for _, refused in one.unreached)


# -- waking up


def test_a_wake_up_is_never_lost(make: Make) -> None:
    """Eight threads put work in and wake; the loop never waits while work is there."""
    one = make(hello("a"))
    rounds, threads = 2_000, 8
    done = [0] * threads
    work = [0] * threads
    slowest_s = 0.0

    def produce(number: int) -> None:
        for _ in range(rounds):
            work[number] += 1
            one.transport.wake()
            while done[number] < work[number] and not one_ended.is_set():
                os.sched_yield()

    one_ended = threading.Event()
    producers = [threading.Thread(target=produce, args=(n,)) for n in range(threads)]
    for thread in producers:
        thread.start()
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in producers):
        began = time.monotonic()
        one.transport.poll(1.0)
        waited = time.monotonic() - began
        if any(done[n] < rounds for n in range(threads)):
            slowest_s = max(slowest_s, waited)
        done[:] = work[:]
        if time.monotonic() > deadline or slowest_s > 0.9:
            one_ended.set()
    assert slowest_s < 0.9, "a wake-up was lost"
    assert done == [rounds] * threads


def test_waking_a_closed_transport_does_nothing() -> None:
    """A thread that comes too late writes to no descriptor that belongs to somebody else now."""
    one = End(hello("a"))
    one.transport.close()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]  # they get the numbers
    one.transport.wake()
    for fd in others:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(fd)
        os.close(fd)


# -- listening


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:7101", "[::]:0"])
def test_only_loopback_is_listened_on(address: str) -> None:
    """Without TLS the listener refuses any other address, and says what to give."""
    with pytest.raises(ConfigError, match="not a loopback address") as caught:
        Transport(address, End.__new__(End), SystemClock())
    assert "127.0.0.1:7101" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["", "nothing", "127.0.0.1:raft", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """ConfigError names the key and the value."""
    with pytest.raises(ConfigError, match=r"raft\.listen"):
        Transport(address, End.__new__(End), SystemClock())


def test_an_address_in_use_is_refused(make: Make) -> None:
    """With a hint how to find who has it."""
    one = make(hello("a"))
    with pytest.raises(ConfigError, match="cannot be bound") as caught:
        Transport(one.address, one, SystemClock())
    assert "ss -ltnp" in str(caught.value.hint)


def test_nothing_is_accepted_before_the_door_opens(make: Make) -> None:
    """A connection is refused until the log was taken in."""
    end = End.__new__(End)
    transport = Transport("127.0.0.1:0", end, SystemClock())
    host, _, port = transport.address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=DEADLINE_S)
    transport.close()


def test_cluster_ids_are_told_apart_by_the_tag() -> None:
    """The tag of a frame depends on cluster and newest restore."""
    tags = {
        frame_tag(CLUSTER_ID, LINEAGE),
        frame_tag("d" * 32, LINEAGE),
        frame_tag(CLUSTER_ID, ((1, "second"),)),
        frame_tag(CLUSTER_ID, ((2, "first"),)),
    }
    assert len(tags) == 4
