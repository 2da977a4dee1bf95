"""The private names of pysyncobj that raft/engine.py overrides, sets and reads.

A renamed attribute would not fail by itself: Python would make a new one and the core would go on
with its own. So each override is shown to be called, and each value that is set to be obeyed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
import pytest
from pysyncobj import SyncObj
from pysyncobj.node import Node
from stock_pysyncobj import (
    FAR_AWAY,
    FIRST,
    FOLLOWER,
    LEADER,
    NOOP,
    Bench,
    Disk,
    Recorder,
    append_entries,
    command,
    patch,
)

from heroctl_core.raft import engine

OVERRIDDEN = (
    "_SyncObj__applyLogEntries",
    "_SyncObj__changeCluster",
    "_SyncObj__doApplyCommand",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__onBecomeLeader",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__tryLogCompaction",
    "_checkCommandsToApply",
)
USED = sorted(set(re.findall(r"_SyncObj__\w+", Path(engine.__file__).read_text("utf-8"))))


# What raft/engine.py drives or derives from. When one differs, read what changed, above all in the
# bodies of OVERRIDDEN, in `_onTick` and in `__onMessageReceived`; then put the new one here.
READ = {
    "syncobj.py": "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4",
    "node.py": "e4a3f027cd8291f558334bb9c977e952f6b6989e7e1fa1588d3005ef0b990e2c",
    "journal.py": "9cf1eaf6acc704581a4cf7d3de330a404403913107adc91c929778b7e3f35edf",
    "transport.py": "0c9d89f9c4781ec9772df8011d7975a1a4a1a5f541357e12eae85a813e92b50b",
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with its clock at zero."""
    made = Bench()
    patch(monkeypatch, made)
    return made


@pytest.mark.parametrize("name", READ)
def test_the_source_is_the_one_that_was_read(name: str) -> None:
    """A distribution may patch it without another version number."""
    content = Path(pysyncobj.syncobj.__file__).with_name(name).read_bytes()
    assert sha256(content).hexdigest() == READ[name]


def counting(calls: Counter[str]) -> type[SyncObj]:
    """A stock core that counts the calls of the overridden methods and does what they did."""

    def counted(name: str) -> Any:
        original = getattr(Recorder, name)

        def method(self: SyncObj, *arguments: Any) -> Any:
            calls[name] += 1
            return original(self, *arguments)

        return method

    return type("Counting", (Recorder,), {name: counted(name) for name in OVERRIDDEN})


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_an_override_is_called(bench: Bench, name: str) -> None:
    """In the life of a leader – election, a command, a new member – each override is reached."""
    calls: Counter[str] = Counter()
    leader = bench.leader("A", "BC", kind=counting(calls))
    answer = {"type": "next_node_idx", "next_node_idx": 3, "success": True, "reset": False}
    leader.receive("B", answer)
    leader.tick()
    leader.propose("x")
    leader.core.addNodeToCluster(Node("D"))
    leader.tick()
    assert calls[name] > 0


def test_the_engine_overrides_nothing_else() -> None:
    """An override that is not in this file's list would be an untested one."""
    ours = {name for name in vars(engine.RaftCore) if hasattr(SyncObj, name)}
    assert ours - set(OVERRIDDEN) <= {"__init__", "__doc__", "__module__"}


@pytest.mark.parametrize("name", USED)
def test_a_name_that_the_engine_uses_exists(bench: Bench, name: str) -> None:
    """A stock core has every private name that raft/engine.py mentions."""
    assert hasattr(bench.start("A", "BC").core, name)


def test_the_look_for_names_finds_some() -> None:
    """The list above is not empty by mistake."""
    assert "_SyncObj__raftLog" in USED


def test_the_election_deadline_is_obeyed(bench: Bench) -> None:
    """Infinity: never a candidate, however long it is. Zero: a candidate in the next tick."""
    node = bench.start("A", "BC")
    node.core._SyncObj__raftElectionDeadline = math.inf
    bench.now = FAR_AWAY
    node.tick()
    assert node.take() == []
    node.core._SyncObj__raftElectionDeadline = 0.0
    node.tick()
    assert [m["type"] for m in node.take()] == ["request_vote", "request_vote"]


def test_a_deadline_comes_from_the_timeout_method_only(bench: Bench) -> None:
    """With an infinite timeout, neither start nor heartbeat nor election sets another deadline."""

    class Patient(Recorder):
        def _SyncObj__generateRaftTimeout(self) -> float:
            return math.inf

    node = bench.start("A", "BC", kind=Patient)
    assert node.core._SyncObj__raftElectionDeadline == math.inf
    node.receive("B", append_entries(1, previous=(1, 0)))
    assert node.core._SyncObj__raftElectionDeadline == math.inf
    bench.campaign(node)
    assert node.core._SyncObj__raftElectionDeadline == math.inf


def test_the_journal_can_be_exchanged(bench: Bench) -> None:
    """After `_SyncObj__raftLog` was set, votes are refused by the end of the new journal."""
    node = bench.start("A", "BC")
    node.core._SyncObj__raftLog = Disk([FIRST, (NOOP, 2, 5)], term=5)
    request = {"type": "request_vote", "term": 6, "last_log_term": 4, "last_log_index": 9}
    node.receive("B", request)
    assert node.take() == []


def test_term_and_vote_are_obeyed_and_stored(bench: Bench) -> None:
    """A set term and vote count, and a new one reaches the journal before the answer is sent."""
    node = bench.start("A", "BC")
    node.core._SyncObj__raftCurrentTerm = 7
    node.core._SyncObj__votedForNodeId = "C"
    request = {"type": "request_vote", "term": 7, "last_log_term": 0, "last_log_index": 1}
    node.receive("B", request)
    assert node.take() == []
    node.receive("B", request | {"term": 8})
    assert (node.disk.term, node.disk.vote) == (8, "B")


def test_the_heartbeat_time_is_obeyed(bench: Bench) -> None:
    """A leader sends nothing while its next time is infinity and nothing was applied."""
    leader = bench.leader("A", "BC", appendEntriesUseBatch=True)
    leader.core._SyncObj__newAppendEntriesTime = math.inf
    bench.now += 10
    leader.tick()
    assert leader.take(kind="append_entries") == []
    leader.core._SyncObj__newAppendEntriesTime = 0.0
    leader.tick()
    assert len(leader.take(kind="append_entries")) == 2


def test_applying_can_ask_for_a_heartbeat(bench: Bench) -> None:
    """True from `_SyncObj__applyLogEntries` makes a leader send at once."""

    class Eager(Recorder):
        def _SyncObj__applyLogEntries(self) -> bool:
            return True

    leader = bench.leader("A", "BC", kind=Eager)
    leader.core._SyncObj__newAppendEntriesTime = math.inf
    leader.tick()
    assert len(leader.take(kind="append_entries")) == 2


def test_the_commit_rule_reads_members_and_match_indexes(bench: Bench) -> None:
    """Set members and match indexes decide what is committed; the journal hears of it."""
    leader = bench.leader("A", "BC")
    fourth, fifth = Node("D"), Node("E")
    leader.core._SyncObj__otherNodes = {Node("B"), Node("C"), fourth, fifth}
    for node in (fourth, fifth):
        leader.core._SyncObj__raftMatchIndex[node] = 0
        leader.core._SyncObj__raftNextIndex[node] = 3
        leader.core._SyncObj__lastResponseTime[node] = math.inf
    leader.core._SyncObj__raftMatchIndex[Node("B")] = 2
    leader.tick()
    assert leader.commit == 1  # two of five
    leader.core._SyncObj__raftMatchIndex[fourth] = 2
    leader.tick()
    assert leader.commit == leader.disk.commit == 2


def test_a_leader_keeps_its_place_while_answers_are_infinitely_fresh(bench: Bench) -> None:
    """With `_SyncObj__lastResponseTime` at infinity the fallback never strikes; else it does."""
    leader = bench.leader("A", "BC")
    for name in "BC":
        leader.core._SyncObj__lastResponseTime[Node(name)] = math.inf
    bench.now += FAR_AWAY
    leader.tick()
    assert leader.leads
    for name in "BC":
        leader.core._SyncObj__lastResponseTime[Node(name)] = 0.0
    leader.tick()
    assert not leader.leads


def test_readonly_members_get_entries_but_do_not_count(bench: Bench) -> None:
    """A node in `_SyncObj__readonlyNodes` is sent entries; its match index commits nothing."""
    leader = bench.leader("A", "BC")
    learner = Node("L")
    leader.core._SyncObj__readonlyNodes = {learner}
    leader.core._SyncObj__raftNextIndex[learner] = 3
    leader.core._SyncObj__raftMatchIndex[learner] = 2
    leader.connect("L")
    bench.now += 1
    leader.tick()
    assert len(leader.take("L", "append_entries")) == 1
    assert leader.commit == 1


def test_state_and_leader_can_be_taken_away(bench: Bench) -> None:
    """A leader whose state is set to follower sends nothing more and knows no leader."""
    leader = bench.leader("A", "BC")
    assert leader.core._SyncObj__raftState == LEADER
    leader.core._SyncObj__raftState = FOLLOWER
    leader.core._SyncObj__raftLeader = None
    leader.stay_follower()
    bench.now += 1
    leader.tick()
    assert leader.take() == []
    assert leader.core._getLeader() is None


def test_applied_and_commit_index_are_obeyed(bench: Bench) -> None:
    """Applying begins after the set applied index and ends at the set commit index."""
    log = [FIRST, *((command(str(index)), index, 1) for index in range(2, 9))]
    node = bench.start("A", "BC", Disk(log, term=1))
    node.core._SyncObj__raftLastApplied = 4
    node.core._SyncObj__raftCommitIndex = 6
    node.tick()
    assert node.applied == [b"5", b"6"]


def test_the_no_op_of_a_new_leader_is_known(bench: Bench) -> None:
    """`_SyncObj__noopIDx` is the index of the entry that an election appends."""
    leader = bench.leader("A", "BC", Disk([FIRST, (command("a"), 2, 1)], term=1))
    assert leader.core._SyncObj__noopIDx == 3
    assert leader.log[2] == (NOOP, 3, 2)


def test_without_a_connection_nobody_campaigns(bench: Bench) -> None:
    """The reports of connected and disconnected nodes gate elections."""
    node = bench.start("A", "BC")
    for name in "BC":
        node.core._SyncObj__onNodeDisconnected(Node(name))
    bench.campaign(node)
    assert node.term == 0
    node.connect("B")
    bench.campaign(node)
    assert node.term == 1


def test_a_made_up_vote_request_steps_a_leader_down(bench: Bench) -> None:
    """A request with a log that is older than any takes the term and gives no vote."""
    leader = bench.leader("A", "BC")
    request = {"type": "request_vote", "term": 9, "last_log_term": -1, "last_log_index": 0}
    leader.receive("X", request)
    assert (leader.term, leader.leads, leader.disk.vote, leader.take()) == (9, False, None, [])


@pytest.mark.parametrize("name", ["createJournal", "createPoller", "monotonicTime"])
def test_the_bench_really_replaces_the_module_names(bench: Bench, name: str) -> None:
    """What the harness patches is what the core calls: without it these tests would prove less."""
    assert getattr(pysyncobj.syncobj, name).__module__ == "stock_pysyncobj"
    node = bench.start("A")
    assert node.core._SyncObj__raftLog is node.disk
    assert node.core._SyncObj__startTime == bench.now


def test_timeouts_are_drawn_from_the_module_random(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock election timeout lies between its bounds as pysyncobj.syncobj.random says."""

    class Highest:
        @staticmethod
        def random() -> float:
            return 1.0

    monkeypatch.setattr(pysyncobj.syncobj, "random", Highest)
    node = bench.start("A", "BC", raftMinTimeout=0.5, raftMaxTimeout=1.25)
    assert node.core._SyncObj__raftElectionDeadline == 1.25
