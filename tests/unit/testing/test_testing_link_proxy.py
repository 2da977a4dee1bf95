"""The network between real nodes: each direction can be cut, slowed down and broken."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from heroctl_core.testing.link_proxy import LinkProxy, dialer

DEADLINE_S = 10.0


class Ends:
    """A connection from node a, which is this process, to the Raft port of node b."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(DEADLINE_S)
        target = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.proxy = LinkProxy({"a": target, "b": target}, lambda: {os.getpid(): "a"})
        self.a = self.dial()
        self.b = self.accept()

    def dial(self) -> socket.socket:
        host, _, port = self.proxy.addresses["b"].rpartition(":")
        return socket.create_connection((host, int(port)), DEADLINE_S)

    def accept(self) -> socket.socket:
        accepted, _ = self.server.accept()
        accepted.settimeout(DEADLINE_S)
        return accepted

    def close(self) -> None:
        for end in (self.a, self.b, self.server):
            end.close()
        self.proxy.close()


def rest(end: socket.socket) -> bytes:
    """What still arrives before the connection ends, in whatever way."""
    received = b""
    try:
        while data := end.recv(100):
            received += data
    except ConnectionResetError:
        pass
    return received


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two ends that reach each other."""
    pair = Ends()
    yield pair
    pair.close()


def test_bytes_go_both_ways(ends: Ends) -> None:
    """What one end sends, the other one gets; the end of one is the end of the other."""
    ends.a.sendall(b"there")
    assert ends.b.recv(100) == b"there"
    ends.b.sendall(b"and back")
    assert ends.a.recv(100) == b"and back"
    ends.a.close()
    assert ends.b.recv(100) == b""


def test_a_cut_direction_holds_back_and_the_other_one_works(ends: Ends) -> None:
    """One-way: nothing arrives at b until the network is whole again; then all of it does."""
    ends.proxy.cut(["a"], ["b"])
    ends.a.sendall(b"late")
    ends.b.sendall(b"still here")
    assert ends.a.recv(100) == b"still here"
    ends.b.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends.b.recv(100)
    ends.b.settimeout(DEADLINE_S)
    ends.proxy.heal()
    assert ends.b.recv(100) == b"late"


def test_new_connections_over_a_cut_link_are_silent(ends: Ends) -> None:
    """They get through when the network is whole again."""
    ends.proxy.cut(["a"], ["b"])
    ends.a.sendall(b"held")  # the cut is made in the order of the calls
    second = ends.dial()
    second.sendall(b"hello")
    ends.server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        ends.server.accept()
    ends.server.settimeout(DEADLINE_S)
    ends.proxy.heal()
    accepted = ends.accept()
    assert accepted.recv(100) == b"hello"
    accepted.close()
    second.close()


def test_a_slow_direction_keeps_the_order(ends: Ends) -> None:
    """Nothing arrives before half of the delay, and all in order."""
    ends.proxy.slow(["a"], ["b"], 0.2)
    began = time.monotonic()
    ends.a.sendall(b"one ")
    ends.a.sendall(b"two")
    received = b""
    while len(received) < 7:
        received += ends.b.recv(100)
    assert received == b"one two"
    assert time.monotonic() - began >= 0.1


def test_broken_connections_lose_what_was_held_back(ends: Ends) -> None:
    """Both ends see the break; nothing of it arrives later."""
    ends.proxy.cut(["a"], ["b"])
    ends.a.sendall(b"lost")
    ends.proxy.reset()
    ends.proxy.heal()
    assert rest(ends.a) == rest(ends.b) == b""


def test_a_dialer_is_known_by_its_process(ends: Ends) -> None:
    """By the local port of its connection; nobody for a port that nobody has."""
    port = ends.a.getsockname()[1]
    assert dialer(port, {os.getpid(): "a"}) == "a"
    assert dialer(port, {1: "init"}) is None
    assert dialer(1, {os.getpid(): "a"}) is None
