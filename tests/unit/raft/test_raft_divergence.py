"""A node whose state is not the majority's stops itself; nobody else does."""

from __future__ import annotations

import pytest

from heroctl_core.errors import NodeFault
from heroctl_core.raft import divergence, guard
from heroctl_core.raft.node import RaftNode
from heroctl_core.state.commands import DeleteJob, Envelope, encode
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.raft_bench import RaftBench, members

SOON_S = 1.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are compared every second."""
    monkeypatch.setattr(divergence, "EVERY_S", SOON_S)


class Watched(RaftBench):
    """A bench on which a node that stops itself is silent from then on; `faults` says why."""

    def __init__(self, letters: str = "abc") -> None:
        super().__init__()
        self.faults: dict[str, NodeFault] = {}
        self.cluster(letters)
        for number in range(1, 6):
            self.write("a", number)
        self.run(0.2)

    def turn(self, letter: str) -> RaftNode:
        if letter not in self.faults:
            try:
                return super().turn(letter)
            except NodeFault as fault:
                self.faults[letter] = fault
        return self.nodes[letter]

    def leader(self) -> str:
        """Who leads among those that run."""
        return next(m for m, n in self.nodes.items() if n.leading and m not in self.faults)

    def works(self, number: int) -> bool:
        """Whether a write comes through."""
        written = self.write(self.leader(), number)
        self.run(0.3)
        return isinstance(written.result(0), Applied)


def differ(node: RaftNode) -> None:
    """The node's state becomes another one, as by a defect or a broken memory."""
    table = node.machine._rows.tables["jobs"]
    table.put("job-3", b"another row")


def checks(node: RaftNode) -> int:
    """How many comparisons the log has."""
    return sum(data[0] == guard.CHECK for data, _, _ in node.log.entries)


@pytest.mark.parametrize("wrong", ["a", "c"], ids=["the leader", "a follower"])
def test_the_node_that_differs_stops_and_the_others_go_on(wrong: str) -> None:
    """Also when it leads: a majority says what is right. The reason names kind, index, values."""
    bench = Watched()
    differ(bench.nodes[wrong])
    bench.run(2.0)
    assert list(bench.faults) == [wrong]
    message, hint = bench.faults[wrong].message, bench.faults[wrong].hint
    assert "this node's state differs from the majority's at log index 4: jobs is " in message
    others = " and ".join(f"node-{m}" for m in "abc" if m != wrong)
    assert message.endswith(f" on {others}")
    assert "revision" not in message
    assert "an empty one" in str(hint)
    told = {node.divergence.warning for m, node in bench.nodes.items() if m != wrong}
    assert told == {f"node-{wrong} had another state at log index 4"}
    bench.run(4.0)
    assert bench.works(9)


def test_equal_states_stop_nobody() -> None:
    """Comparing goes on as long as something is written, and only then."""
    bench = Watched()
    bench.run(5.0)
    assert checks(bench.nodes["a"]) == 1
    for number in range(10, 15):
        assert bench.works(number)
        bench.run(1.0)
    assert checks(bench.nodes["a"]) > 4
    assert bench.faults == {}
    assert all(node.divergence.warning is None for node in bench.nodes.values())


def test_a_row_whose_bytes_changed_in_memory_is_noticed_when_it_is_written() -> None:
    """Fingerprints are sums that `apply` keeps up: what it replaces goes out of them as it is."""
    bench = Watched()
    for shard in bench.nodes["b"].machine._rows.tables["jobs"].shards:
        if "job-3" in shard:
            shard["job-3"] = shard["job-3"].replace(b"job", b"jpb") + b"!"
    bench.run(2.0)
    assert bench.faults == {}
    request_id = bytes(15) + b"\x77"
    delete = Envelope(request_id, 1_700_000_000_000, "bench", "bench", DeleteJob("job-3", None))
    bench.nodes["a"].propose(encode(delete), request_id)
    bench.run(4.0)
    assert list(bench.faults) == ["b"]


def test_a_node_that_was_away_is_compared_when_it_is_back() -> None:
    """It says what it has at the newest comparison, and hears it of the others."""
    bench = Watched()
    differ(bench.nodes["c"])
    bench.run(3.0, cut="c")
    assert bench.faults == {}
    assert bench.works(9)
    bench.run(3.0)
    assert list(bench.faults) == ["c"]


def test_a_learner_is_compared_with_the_voters() -> None:
    """It has no say in what is right."""
    bench = Watched()
    bench.start("d", members(""))
    leader = bench.nodes["a"]
    leader.core.append(b"\x02" + members("abc", learners="d").encode())
    bench.run(0.2)
    differ(bench.nodes["d"])
    assert bench.works(9)
    bench.run(0.9)
    assert "d" in bench.faults and len(bench.faults) == 1


def test_a_learner_makes_no_majority() -> None:
    """Beside two voters that differ it agrees with one of them."""
    bench = Watched("ab")
    bench.nodes["a"].core.append(b"\x02" + members("ab", learners="c").encode())
    bench.run(0.2)
    node = bench.nodes["b"]
    differ(node)
    bench.run(2.0)
    [said] = node.divergence._heard.values()
    assert node.receive("c", ["print", said[0], [list(each) for each in said[1]]]) is None
    bench.run(0.5)
    assert bench.faults == {}
    assert "the states of node-a and node-b differ" in str(node.divergence.warning)


def test_a_revision_that_differs_is_noticed() -> None:
    """It is in no fingerprint, for rows may be the same."""
    bench = Watched()
    bench.nodes["c"].machine._rows.revision += 1
    bench.run(2.0)
    assert list(bench.faults) == ["c"]
    assert "revision is 6 here, 5 on node-a and node-b" in bench.faults["c"].message


def test_a_state_is_told_once() -> None:
    """Each heartbeat would be many times as large."""
    bench = Watched()
    told: list[str] = []
    node = bench.nodes["b"]
    send = node.send
    node.send = lambda target, frame: (told.append(str(frame[0])), send(target, frame))[1]
    bench.run(3.0)
    assert told.count("print") == 2


def test_without_a_majority_nobody_stops_and_all_say_so() -> None:
    """Of two voters nothing says which one is right."""
    bench = Watched("ab")
    differ(bench.nodes["b"])
    bench.run(3.0)
    assert bench.faults == {}
    for node in bench.nodes.values():
        (warning,) = node.warnings
        assert "the states of node-a and node-b differ at log index 4, and no majority" in warning
    assert bench.works(9)


def test_a_lone_voter_compares_with_nobody() -> None:
    """Its log does not grow by comparisons."""
    bench = Watched("a")
    bench.run(5.0)
    assert checks(bench.nodes["a"]) == 0


def test_what_a_stranger_says_does_not_count() -> None:
    """Nor what a member says of another index."""
    bench = Watched()
    bench.run(2.0)
    node = bench.nodes["c"]
    for sender in "xyz":
        assert node.receive(sender, ["print", 4, [["jobs", bytes(32)]]]) is None
    for sender in "ab":
        assert node.receive(sender, ["print", 3, [["jobs", bytes(32)]]]) is None
    bench.run(0.5)
    assert bench.faults == {}
    assert node.receive("a", ["print", 4, [["jobs", 5]]]) == "malformed print frame"
