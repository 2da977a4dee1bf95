"""Members meet over real sockets on loopback; who does not belong here disturbs nobody."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import pytest
from transport_ends import (
    CLUSTER_ID,
    DEADLINE_S,
    LINEAGE,
    TRUST,
    End,
    Make,
    Raw,
    connect,
    hello,
    make,
    other,
    pair,
    run,
    still_works,
)

from heroctl_core.clock import SystemClock
from heroctl_core.errors import ConfigError
from heroctl_core.raft.handshake import PROTOCOL, Hello, Relation, frame_tag
from heroctl_core.raft.neighbours import Neighbours
from heroctl_core.raft.transport import Transport
from heroctl_core.testing.clock import ManualClock

__all__ = ["make", "pair"]  # fixtures


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
    assert {r for _, r in one.relations + two.relations} <= {Relation.REFUSED, Relation.FORK}
    assert not one.peers
    assert not two.peers


def test_two_live_processes_with_one_member_id_are_cut_off(make: Make) -> None:
    """A third node, which they both reach, takes frames of neither; of one alone it does again."""
    clock = ManualClock()
    one, two = make(hello("a"), clock), make(hello("b"))
    copy = make(other(hello("b"), boot_nonce="copied"))
    known = Neighbours()
    one.judge = lambda theirs, judged: known.met(None, theirs, judged, clock.monotonic_s())
    two.transport.dial({one.address})
    one.transport.dial({two.address, copy.address})
    run([one, two], lambda: one.peers and two.peers)
    copy.transport.dial({one.address})
    run([one, two, copy], lambda: any("was copied" in reason for reason in one.refusals))
    run([one, two, copy], lambda: not one.peers)
    copy.transport.close()
    clock.advance(10.0)
    run([one, two], lambda: one.peers == ["b"] and two.peers)
    two.transport.send("a", ["ping"])
    run([one, two], lambda: one.frames)
    assert one.frames == [("b", ["ping"])]
    assert any("was copied" in reason for reason in one.refusals)


def test_another_protocol_is_refused(make: Make, pair: tuple[End, End]) -> None:
    """The reason names both numbers."""
    raw = Raw(pair[0])
    raw.say_hello(other(hello("c"), protocol=99, oldest_protocol=99))
    run([pair[0]], raw.look)
    assert f"protocol 99, this node speaks {PROTOCOL}" in pair[0].refusals[0]
    assert still_works(pair)


def test_a_node_that_dials_itself_notices(make: Make) -> None:
    """A peer list that names this node too does no harm."""
    one = make(hello("a"))
    one.transport.dial({one.address})
    run([one], lambda: one.relations)
    assert one.refusals == ["itself"] * len(one.refusals)
    assert not one.peers


# -- connections end and come back


def test_a_peer_that_ends_is_noticed_and_found_again(make: Make) -> None:
    """Both directions are reported at once; a new process at the address is dialed again."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    address = two.address
    two.transport.close()
    run([one], lambda: not one.peers and one.gone == ["b"])
    run([one], lambda: (address, True) in one.unreached)
    again = Transport(address, two, SystemClock(), TRUST)
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


def test_a_name_server_that_does_not_answer_delays_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are resolved beside the loop; numeric addresses need no look-up."""
    answer = threading.Event()
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *more: object, **named: object) -> object:
        asked.append(host)
        if host == "slow.example":
            answer.wait(DEADLINE_S)
            return real("127.0.0.1", *more, **named)  # type: ignore[arg-type]
        return real(host, *more, **named)  # type: ignore[arg-type]

    one, two, slow = make(hello("a")), make(hello("b")), make(hello("c"))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = slow.address.rpartition(":")[2]
    one.transport.dial({two.address, f"slow.example:{port}"})
    run([one, two], lambda: one.peers == ["b"])
    assert asked.count("slow.example") == 1, "it is asked once until it answers"
    answer.set()
    run([one, two, slow], lambda: one.peers == ["b", "c"])


def test_what_is_bulk_lets_everything_else_go_first(make: Make) -> None:
    """A heartbeat that is sent after chunks of a snapshot arrives before most of them."""
    one, two = make(hello("a")), make(hello("b"))
    connect(one, two)
    for number in range(16):
        one.transport.send("b", ["inst", number, bytes(1 << 20)])
    one.transport.flush()
    one.transport.send("b", ["ae", "a heartbeat"])
    run([one, two], lambda: len(two.frames) == 17)
    kinds = [frame[0] for _, frame in two.frames]
    assert kinds.index("ae") < 8
    chunks = [frame[1] for _, frame in two.frames if frame[0] == "inst"]
    assert chunks == list(range(16))


# -- waking up

LOST_S = 20.0  # far above what a busy machine makes a thread wait


def test_a_wake_up_is_never_lost(make: Make) -> None:
    """Eight threads put work in and wake; the loop never waits for long while work is there."""
    one = make(hello("a"))
    rounds, threads = 2_000, 8
    done = [0] * threads
    work = [0] * threads
    ended = threading.Event()

    def produce(number: int) -> None:
        for _ in range(rounds):
            work[number] += 1
            one.transport.wake()
            while done[number] < work[number] and not ended.is_set():
                os.sched_yield()

    producers = [threading.Thread(target=produce, args=(n,)) for n in range(threads)]
    for thread in producers:
        thread.start()
    waited_s = 0.0
    while done != [rounds] * threads and waited_s < LOST_S:
        began = time.monotonic()
        one.transport.poll(2 * LOST_S)  # comes back at once when somebody woke it
        waited_s = time.monotonic() - began
        done[:] = work[:]
    ended.set()
    for thread in producers:
        thread.join(DEADLINE_S)
    assert waited_s < LOST_S, "a wake-up was lost"


def test_a_wake_up_in_the_middle_of_another_is_not_lost(make: Make) -> None:
    """Whoever wakes right before or after the loop is told of a wake-up does not silence the next;
    nobody reads the descriptor, so each write has to be told anew."""
    one = make(hello("a"))
    epoll = one.transport._epoll

    class OthersWakeMeanwhile:
        def poll(self, timeout_s: float) -> list[tuple[int, int]]:
            events = epoll.poll(timeout_s)
            one.transport.wake()
            return events

        def __getattr__(self, name: str) -> Any:
            return getattr(epoll, name)

    one.transport._epoll = OthersWakeMeanwhile()  # type: ignore[assignment]
    began = time.monotonic()
    for _ in range(3):
        one.transport.wake()
        one.transport.poll(LOST_S)
    assert time.monotonic() - began < LOST_S
    one.transport._epoll = epoll
    one.transport.poll(0)
    one.transport.poll(0.001)  # nothing is left over: this one really waits
    assert not epoll.poll(0)


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
        Transport(address, End.__new__(End), SystemClock(), TRUST)
    assert "127.0.0.1:7101" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["", "nothing", "127.0.0.1:raft", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """ConfigError names the key and the value."""
    with pytest.raises(ConfigError, match=r"raft\.listen"):
        Transport(address, End.__new__(End), SystemClock(), TRUST)


def test_an_address_in_use_is_refused(make: Make) -> None:
    """With a hint how to find who has it."""
    one = make(hello("a"))
    with pytest.raises(ConfigError, match="cannot be bound") as caught:
        Transport(one.address, one, SystemClock(), TRUST)
    assert "ss -ltnp" in str(caught.value.hint)


def test_nothing_is_accepted_before_the_door_opens(make: Make) -> None:
    """A connection is refused until the log was taken in."""
    end = End.__new__(End)
    transport = Transport("127.0.0.1:0", end, SystemClock(), TRUST)
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
