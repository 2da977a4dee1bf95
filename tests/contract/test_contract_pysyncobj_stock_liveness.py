"""What stock pysyncobj does wrong besides losing writes: rows 21 to 30 of docs/engine.md.

As in test_contract_pysyncobj_stock.py: when a new version fails one of them, read the row, then
decide whether its cure may go.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node
from stock_pysyncobj import (
    FIRST,
    MEMBERSHIP,
    Bench,
    Disk,
    Recorder,
    append_entries,
    command,
    dump_at,
    entries,
    led_cluster,
    patch,
    snapshot_parts,
)

from heroctl_core.testing.local_cluster import free_ports

DEADLINE_S = 20.0


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with its clock at zero."""
    made = Bench()
    patch(monkeypatch, made)
    return made


def test_row_21_a_promoted_learner_breaks_every_tick(bench: Bench) -> None:
    """The end of the learner's connection takes the new voter's match index away."""
    leader = bench.start("A")
    leader.tick()
    bench.campaign(leader)
    leader.core._SyncObj__onReadonlyNodeConnected(Node("L"))
    leader.core.addNodeToCluster(Node("L"))
    leader.tick()
    assert leader.others == {"L"}
    leader.core._SyncObj__onReadonlyNodeDisconnected(Node("L"))
    leader.connect("L")
    for _ in range(3):
        with pytest.raises(KeyError):
            leader.tick()


def test_row_21_a_learner_without_peers_elects_itself(bench: Bench) -> None:
    """A node that is to join a cluster leads one of its own instead."""
    joiner = bench.start("L")
    bench.campaign(joiner)
    assert joiner.leads


def test_row_22_a_removed_node_never_learns_it_and_deposes_the_leader(bench: Bench) -> None:
    """The leader stops sending before the removed node has the entry; its campaigns go on."""
    nodes = led_cluster(bench)
    nodes["A"].core.removeNodeFromCluster(Node("C"))
    nodes["A"].tick()
    nodes["A"].take("C")  # an answer that comes late is a KeyError on the leader
    nodes["C"].take()
    bench.run(nodes, 50)
    assert nodes["A"].others == {"B"}
    assert all(content[:1] != MEMBERSHIP for content, _, _ in nodes["C"].log)
    bench.campaign(nodes["C"])
    bench.run(nodes, 2)
    assert nodes["A"].term == nodes["C"].term == 2
    assert not nodes["A"].leads


def test_row_23_a_candidate_that_is_not_known_is_hung_up_on() -> None:
    """A voter that has not heard of a new member does not even listen to its request for a vote."""
    (mine,) = free_ports(1)
    voter = SyncObj(f"127.0.0.1:{mine}", [], SyncObjConf(autoTick=False))
    voter.doTick(0)
    content = zlib.compress(pickle.dumps("127.0.0.1:9"))
    with socket.create_connection(("127.0.0.1", mine)) as candidate:
        candidate.setblocking(False)
        hung_up, end_s = False, time.monotonic() + DEADLINE_S
        while not hung_up and time.monotonic() < end_s:
            voter.doTick(0.01)
            try:
                candidate.send(struct.pack("i", len(content)) + content)
                hung_up = candidate.recv(1) == b""
            except BlockingIOError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                hung_up = True
    voter.destroy()
    voter.doTick(0)
    assert hung_up


def test_row_24_under_load_leadership_is_never_handed_over(bench: Bench) -> None:
    """The follower would have to hold an entry that was appended a moment ago."""
    nodes = led_cluster(bench)
    ends: list[int] = []
    for number in range(30):
        nodes["A"].propose(str(number))
        bench.run(nodes, 1)
        nodes["A"].core.transferLeadership(callback=lambda _, error: ends.append(error))
    assert ends == [FAIL_REASON.REQUEST_DENIED] * 30


def test_row_25_what_waits_is_forgotten_when_a_snapshot_jumps_over_it(
    bench: Bench, tmp_path: Path
) -> None:
    """Five clients of a deposed leader are never told anything, although all is applied."""
    leader = bench.leader("A", "BC", dump=tmp_path / "dump")
    for number in range(5):
        leader.propose(str(number))
    leader.tick()
    leader.receive("B", *snapshot_parts(2, dump_at(50, 2, "ABC"), commit=50))
    for _ in range(20):
        bench.now += 0.1
        leader.receive("B", append_entries(2, previous=(50, 2), commit=50))
        leader.tick()
    assert (leader.leads, leader.core.raftLastApplied) == (False, 50)
    assert leader.outcomes == []


class Slow(Recorder):
    """Each command takes ten milliseconds of the bench's time."""

    bench: Bench

    def _SyncObj__doApplyCommand(self, content: bytes) -> Any:
        self.bench.now += 0.01
        return super()._SyncObj__doApplyCommand(content)


def test_row_26_a_backlog_is_applied_in_one_tick(bench: Bench) -> None:
    """Ten seconds without a heartbeat, while others elect somebody else."""
    Slow.bench = bench
    log = [FIRST, *entries(2, 1001)]
    node = bench.start("A", "BC", Disk(log, term=1, commit=1001), kind=Slow)
    node.tick()
    assert len(node.applied) == 1000
    assert bench.now > 9


def test_row_26_nothing_bounds_what_is_under_way_to_a_follower(bench: Bench) -> None:
    """The whole log is sent at once to a follower that has answered nothing."""
    leader = bench.leader("A", "BC")
    for _ in range(200):
        leader.propose("x" * 10_000)
    bench.now += 1
    leader.tick()
    bench.now += 1
    leader.tick()
    sent = leader.take("B", "append_entries")
    assert sum(len(message["entries"]) for message in sent) == 200


def test_row_27_the_order_of_members_depends_on_the_process() -> None:
    """Who is sent to first follows from Python's hash seed, so no simulation repeats."""
    code = "from pysyncobj.node import Node; print([n.id for n in {Node(x) for x in 'ABCDEFGH'}])"
    orders = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(orders) > 1


def test_row_28_a_leader_without_followers_leads_on(bench: Bench) -> None:
    """For half a minute, and answers to messages of an earlier term make it longer."""
    leader = bench.leader("A", "BC")
    bench.now += 29
    leader.tick()
    assert leader.leads
    late = {"type": "next_node_idx", "next_node_idx": 2, "success": True, "reset": False}
    leader.receive("B", late)  # nothing in it says to which term's message it answers
    bench.now += 29
    leader.tick()
    assert leader.leads


class Defective(Recorder):
    """Every tick fails; after the third one the thread is told to end."""

    ticks = 0

    def _onTick(self, timeToWait: float = 0.0) -> None:
        self.ticks += 1
        if self.ticks == 3:
            self._SyncObj__destroying = True
        super()._onTick(timeToWait)

    def _SyncObj__doApplyCommand(self, content: bytes) -> Any:
        raise ZeroDivisionError


def test_row_29_an_exception_is_logged_and_the_tick_tried_again(bench: Bench) -> None:
    """The node lives on, applies nothing any more, and who waited is never told."""
    leader = bench.leader("A", "BC", kind=Defective)
    leader.propose("x")
    leader.tick()
    answer = {"type": "next_node_idx", "next_node_idx": 4, "success": True, "reset": False}
    leader.receive("B", answer)
    leader.core.ticks = 0
    leader.core._SyncObj__initialised = threading.Event()
    leader.core._SyncObj__mainThread = threading.current_thread()
    leader.core._autoTickThread()
    assert leader.core.ticks == 3
    assert (leader.leads, leader.commit, leader.core.raftLastApplied) == (True, 3, 1)
    assert leader.outcomes == []


def test_row_29_an_entry_of_two_batches_cannot_be_received(bench: Bench) -> None:
    """Its parts are counted by the length of the content, but what is sent is a pickle of it."""
    leader = bench.leader("A", "BC", appendEntriesBatchSizeBytes=1000)
    follower = bench.start("B", "AC")
    leader.propose("x" * 1999)
    leader.tick()
    bench.now += 1
    leader.tick()
    parts = [m for m in leader.take("B", "append_entries") if "transmission" in m]
    assert [part["transmission"] for part in parts] == ["start", "finish", "finish"]
    with pytest.raises(EOFError):
        follower.receive("A", append_entries(1, [(b"\x01", 2, 1)], previous=(1, 0)), *parts)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_row_30_a_message_can_run_code(bench: Bench, tmp_path: Path) -> None:
    """A membership entry is unpickled as it arrives: whoever reaches the port runs code here."""
    follower = bench.start("B", "AC")
    made = tmp_path / "made by the sender"
    content = MEMBERSHIP + pickle.dumps(["add", "D", Touch(made)])
    with pytest.raises(Exception, match="NoneType"):
        follower.receive("A", append_entries(1, [(content, 2, 1)], previous=(1, 0)))
    assert made.exists()


def test_row_30_an_observer_gets_every_entry(bench: Bench) -> None:
    """A connection that only says "readonly" is sent the log like a member."""
    leader = bench.leader("A", "BC")
    leader.core._SyncObj__onReadonlyNodeConnected(Node("whoever"))
    leader.propose("a secret")
    leader.tick()
    bench.now += 1
    leader.tick()
    got = [entry for m in leader.take("whoever", "append_entries") for entry in m["entries"]]
    assert command("a secret") in [content for content, _, _ in got]
