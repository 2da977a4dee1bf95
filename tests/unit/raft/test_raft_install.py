"""Snapshot transfer: chunks, windows, what is sent again, and what a receiver takes."""

from __future__ import annotations

import random

import pytest

from heroctl_core.limits import DUMP_CHUNK_BYTES
from heroctl_core.raft.install import Loaded, Receiver, Sender
from heroctl_core.raft.records import DumpRef
from heroctl_core.state.machine import StateMachine
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.raft_bench import members
from heroctl_core.testing.simulated_disk import DumpDisk, SimulatedDumps


class Ends:
    """A sender and a receiver with dumps at the indexes 5 and 9; `sent` holds the frames."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sent: list[list[object]] = []
        shared: dict[str, object] = {}
        here = SimulatedDumps(DumpDisk(), random.Random(1), shared)  # type: ignore[arg-type]
        self.there = SimulatedDumps(DumpDisk(), random.Random(1), shared)  # type: ignore[arg-type]
        self.old, self.new = (self.written(here, index) for index in (5, 9))
        self.sender = Sender(here, self.clock, lambda _, frame: self.sent.append(frame))
        self.receiver = Receiver(self.there)

    @staticmethod
    def written(dumps: SimulatedDumps, index: int) -> DumpRef:
        """A dump on the sender's disk."""
        dumps.begin(index, 1, members("ab"), StateMachine())
        while (ref := dumps.poll_written()) is None:
            pass
        return ref

    def work(self, ref: DumpRef) -> list[list[object]]:
        """The chunks that the sender sends now."""
        self.sent.clear()
        self.sender.work({"b"}, ref, 1)
        return list(self.sent)

    def arrive(self, frames: list[list[object]]) -> None:
        """Brings chunks to the receiver, and its answers back."""
        for _, _, identity, offset, data in frames:
            held = self.receiver.receive("a", identity, offset, data)  # type: ignore[arg-type]
            self.sender.acknowledged("b", identity[2], held)  # type: ignore[index]


def test_a_dump_arrives_in_chunks_a_window_at_a_time() -> None:
    """And is loaded when it is whole."""
    ends = Ends()
    offsets = []
    while frames := ends.work(ends.new):
        assert len(frames) <= 4
        offsets += [frame[3] for frame in frames]
        ends.arrive(frames)
    assert offsets == [n * DUMP_CHUNK_BYTES for n in range(len(offsets))]
    assert ends.receiver.loading_for == "a"
    loaded = None
    while loaded is None:
        loaded = ends.there.poll_loaded()
    assert isinstance(loaded, Loaded)
    assert loaded.ref == ends.new


def test_without_an_answer_the_window_is_sent_again() -> None:
    """After a second, from what was acknowledged."""
    ends = Ends()
    first = ends.work(ends.new)
    ends.arrive(first[:1])
    ends.work(ends.new)
    ends.clock.advance(1.0)
    assert ends.work(ends.new) == []
    ends.clock.advance(0.01)
    assert ends.work(ends.new)[0][3] == DUMP_CHUNK_BYTES


def test_a_transfer_goes_on_although_there_is_a_newer_dump() -> None:
    """Or a follower on a slow line would never get one whole."""
    ends = Ends()
    ends.arrive(ends.work(ends.old))
    ends.clock.advance(0.9)
    assert all(frame[2][0] == 5 for frame in ends.work(ends.new))  # type: ignore[index]


def test_a_follower_that_does_not_take_an_old_dump_gets_the_newest() -> None:
    """It has as much already; the log now begins behind that."""
    ends = Ends()
    ends.work(ends.old)
    ends.clock.advance(1.01)
    frames = ends.work(ends.new)
    assert frames[0][2][0] == 9  # type: ignore[index]
    assert frames[0][3] == 0


@pytest.mark.parametrize("away_s", [0.1, 30.0])
def test_a_transfer_goes_on_where_the_connection_broke(away_s: float) -> None:
    """With nothing sent twice but what was under way, although there is a newer dump by now."""
    ends = Ends()
    first = ends.work(ends.old)
    ends.arrive(first[:2])
    ends.sender.work(set(), ends.new, 1)  # the connection broke; two chunks never arrived
    ends.clock.advance(away_s)
    ends.sender.work(set(), ends.new, 1)
    rest = ends.work(ends.new)
    assert ends.work(ends.new) == []  # the same again only when time for an answer is over
    ends.arrive(rest)
    while frames := ends.work(ends.new):
        rest += frames
        ends.arrive(frames)
    assert rest[0][2:4] == [first[0][2], 2 * DUMP_CHUNK_BYTES]
    assert [frame[3] for frame in rest] == [f[3] for f in first[2:]]
    assert ends.receiver.loading_for == "a"


def test_a_whole_transfer_does_not_wait() -> None:
    """Who needs a dump again after it has got one gets the newest, at once."""
    ends = Ends()
    while frames := ends.work(ends.old):
        ends.arrive(frames)
    ends.sender.work(set(), ends.new, 1)
    frames = ends.work(ends.new)
    assert (frames[0][2][0], frames[0][3]) == (9, 0)  # type: ignore[index]


def test_a_follower_that_lost_what_it_had_gets_it_again_at_once() -> None:
    """It was started again, and says that it has nothing."""
    ends = Ends()
    first = ends.work(ends.old)
    ends.arrive(first)
    ends.work(ends.old)
    ends.sender.acknowledged("b", ends.old.sha256, 0)
    assert [frame[3] for frame in ends.work(ends.old)] == [frame[3] for frame in first]


def test_half_a_transfer_waits_a_minute() -> None:
    """Then the file is let go, and who comes back gets the newest dump from its beginning."""
    ends = Ends()
    ends.arrive(ends.work(ends.old)[:2])
    ends.clock.advance(60.1)
    ends.sender.work(set(), ends.new, 1)
    frames = ends.work(ends.new)
    assert (frames[0][2][0], frames[0][3]) == (9, 0)  # type: ignore[index]


def test_chunks_that_are_late_or_missing_do_no_harm() -> None:
    """Only the next byte is taken; the answer says which."""
    ends = Ends()
    frames = ends.work(ends.new)
    ends.arrive([frames[0], frames[2], frames[0]])
    assert ends.receiver._offset == DUMP_CHUNK_BYTES
    ends.arrive(frames[1:])
    assert ends.receiver._offset == ends.receiver._size


def test_another_dump_begins_at_its_beginning() -> None:
    """The middle of one cannot go on in another."""
    ends = Ends()
    old, new = ends.work(ends.old), None
    ends.arrive(old[:1])
    ends.sender.stop()
    new = ends.work(ends.new)
    ends.arrive(new[1:2])
    assert ends.receiver._ref == ends.old
    ends.arrive(new)
    assert ends.receiver._ref == ends.new


def test_two_dumps_of_one_index_are_not_mixed() -> None:
    """Another leader's has other bytes; its checksum is part of what it is."""
    receiver = Ends().receiver
    assert receiver.receive("a", [9, 1, "aa", "9-1.dump", 10], 0, b"12345") == 5
    assert receiver.receive("c", [9, 1, "bb", "9-1.dump", 10], 5, b"67890") == 0
    assert receiver.receive("c", [9, 1, "bb", "9-1.dump", 10], 0, b"1234567") == 7


def test_more_bytes_than_announced_are_refused() -> None:
    """A peer that lies about the size is cut off."""
    ends = Ends()
    with pytest.raises(ValueError, match="longer than it said"):
        ends.receiver.receive("a", [9, 1, "00", "9-1.dump", 10], 0, bytes(11))
