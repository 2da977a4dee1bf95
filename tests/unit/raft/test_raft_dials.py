"""When an address is tried again, and the pause of a listener that cannot accept."""

from __future__ import annotations

import resource
import select
import socket

from heroctl_core.raft.channel import Channel
from heroctl_core.raft.dials import Dials
from heroctl_core.raft.door import Door


class AtAddress(Channel):
    """A connection to an address, without any socket."""

    def __init__(self, address: str) -> None:
        self.address = address


def due(dials: Dials, now_s: float) -> list[str]:
    """The addresses to try now, each of which is tried."""
    found = []
    for address, dial in dials.due(now_s):
        dial.try_again(now_s)
        found.append(address)
    return found


def waits_ms(dials: Dials, tries: int) -> list[int]:
    """How long it is from each try to the next one."""
    found, now_s = [], 0.0
    for _ in range(tries):
        assert due(dials, now_s) == ["b:1"]
        found.append(round(dials.wait_s(now_s) * 1000))
        now_s += found[-1] / 1000 + 1e-6
    return found


def test_an_address_is_tried_less_often_and_anew_when_all_are_due() -> None:
    """After 50 ms, then twice as long each time, up to half a second; `all_due` forgets that."""
    dials = Dials()
    dials.want({"b:1"})
    assert waits_ms(dials, 6) == [50, 100, 200, 400, 500, 500]
    dials.all_due()
    assert waits_ms(dials, 2) == [50, 100]


def test_a_second_address_is_tried_when_the_first_does_not_lead_to_the_member() -> None:
    """It waits half a minute otherwise."""
    dials = Dials()
    dials.want({"b:1"})
    dials.park(AtAddress("b:1"), "b", 0.0)
    assert due(dials, 29.9) == []
    dials.lost("c")
    assert due(dials, 29.9) == []
    dials.lost("b")
    assert due(dials, 29.9) == ["b:1"]
    dials.park(AtAddress("b:1"), "b", 30.0)
    assert due(dials, 59.9) == []
    assert due(dials, 60.0) == ["b:1"]


def test_a_listener_without_descriptors_rests_for_a_second() -> None:
    """It would be awake all the time otherwise: epoll names it as long as somebody waits."""
    with select.epoll() as epoll:
        door = Door("127.0.0.1:0", epoll, anywhere=False)
        door.open()
        _, port = door.address.split(":")
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_connection(("127.0.0.1", int(port))):
            assert epoll.poll(10.0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
            try:
                assert door.accept(5.0) is None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, most)
            door.look(5.9)
            assert epoll.poll(0) == []
            door.look(6.0)
            assert epoll.poll(10.0)
            accepted = door.accept(6.0)
            assert accepted is not None
            accepted[0].close()
        door.close()
