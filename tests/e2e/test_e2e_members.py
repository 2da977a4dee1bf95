"""Members that come and go: real nodes on real sockets, with writers that never stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_fixture import ELECTION_MS, ThreeNodes, put, wait

from heroctl_core.config.model import Cluster, Config, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.errors import HeroctlError, NodeFault, NotApplied, RecoveryError
from heroctl_core.raft.port import Member, Mode, Order
from heroctl_core.state.outcome import Applied
from heroctl_core.testing.local_cluster import free_ports


class Growing(ThreeNodes):
    """Begins with one node; `join` adds others, which know the address of one member only."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = free_ports(10)
        self.addresses = {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports[:5])}
        self._api = {f"n{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports[5:])}

    def config(self, name: str, **fields: Any) -> Config:
        peers = {} if name == "n0" else {"n0": self.addresses["n0"]}
        raft = Raft(listen=self.addresses[name], peers=peers, election_timeout_ms=ELECTION_MS)
        cluster = Cluster(name="test", bootstrap_expect=1 if name == "n0" else 2)
        return super().config(name, raft=raft, cluster=cluster, **fields)

    def begin(self) -> None:
        config = self.config("n0")
        self.nodes["n0"] = ControlPlane.open(config, bootstrap=True)
        wait(lambda: self.nodes["n0"].status().is_ready)

    def join(self, *names: str) -> None:
        for name in names:
            self.start(name)
            wait(lambda name=name: name in [m.name for m in self.members() if m.voter])

    def members(self) -> tuple[Member, ...]:
        """The members as the leader sees them."""
        return next(iter(self.nodes.values()))._runtime.ask_leader(Order.MEMBERS).result()

    def remove(self, name: str, through: str) -> None:
        self.nodes[through]._runtime.ask_leader(Order.REMOVE, name).result()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    """A cluster of one node that takes writes."""
    cluster = Growing(tmp_path)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[ThreeNodes]:
    """A cluster of three that takes writes."""
    cluster = ThreeNodes(tmp_path)
    try:
        cluster.start()
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


class Writing:
    """What writers through several nodes were told, while `under_load` lasts."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.errors: list[HeroctlError] = []
        self.done = threading.Event()

    def write(self, plane: ControlPlane, writer: str) -> None:
        number = 0
        while not self.done.is_set():
            number += 1
            name = f"job-{writer}-{number}"
            try:
                plane.jobs.put(name, {}, expect=0)
            except NodeFault:
                return  # this node was stopped
            except HeroctlError as error:
                self.errors.append(error)
            else:
                self.acknowledged.append(name)


@contextmanager
def under_load(cluster: ThreeNodes, *names: str) -> Iterator[Writing]:
    """Two writers through each of the named nodes."""
    writing = Writing()
    with ThreadPoolExecutor(2 * len(names)) as pool:
        writers = [
            pool.submit(writing.write, cluster.nodes[name], f"{name}-{number}")
            for name in names
            for number in range(2)
        ]
        try:
            yield writing
        finally:
            writing.done.set()
        for writer in writers:
            writer.result()


def jobs(plane: ControlPlane) -> set[str]:
    return {job.name for job in plane.jobs.list()}


def test_a_cluster_grows_to_five_and_shrinks_to_three_under_load(growing: Growing) -> None:
    """One to three to five to three, the leader among the removed; every acknowledged write is on
    every node that stays, and the removed ones have stopped and say why."""
    with under_load(growing, "n0") as writing:
        growing.join("n1", "n2")
        growing.join("n3", "n4")
        before = len(writing.acknowledged)
        wait(lambda: len(writing.acknowledged) > before + 20)
        for name in ("n4", growing.leader()):
            growing.remove(name, through="n1" if name != "n1" else "n2")
            fault = wait(lambda name=name: growing.nodes[name].fault)
            assert isinstance(fault, RecoveryError)
            assert fault.exit_code == 9
            assert "was removed from cluster test at log index" in str(fault)
            growing.stop(name)
    stay = growing.nodes
    assert len(stay) == 3
    for plane in stay.values():
        wait(lambda plane=plane: growing.voters(plane) == 3 and plane.status().is_ready)
        assert set(writing.acknowledged) <= jobs(plane)


def test_a_node_that_was_down_when_removed_is_told(three: ThreeNodes, tmp_path: Path) -> None:
    """It stops with the reason, a second start says the same without asking anybody, and with an
    empty folder it joins as a new member."""
    name, through = three.followers()[0], three.leader()
    old_id = three.nodes[name].status().raft.member_id
    three.stop(name)
    plane = three.nodes[through]
    wait(lambda: plane._runtime.ask_leader(Order.REMOVE, name).result() == ())
    three.start(name)
    fault = wait(lambda: three.nodes[name].fault)
    assert "was removed" in str(fault)
    with pytest.raises(NodeFault, match="was removed"):
        three.nodes[name].jobs.put("web", {})
    three.stop(name)
    with pytest.raises(RecoveryError, match="was removed") as caught:
        three.start(name)
    assert str(tmp_path / name) in str(caught.value.hint)
    (tmp_path / name).rename(tmp_path / "aside")
    three.start(name)
    three.wait_ready()
    assert three.nodes[name].status().raft.member_id != old_id


def test_a_member_that_moves_keeps_its_identity(three: ThreeNodes) -> None:
    """Its address is an attribute: it comes back under another one, and all learn it."""
    name = three.followers()[0]
    old_id = three.nodes[name].status().raft.member_id
    three.stop(name)
    three.addresses[name] = f"127.0.0.1:{free_ports(1)[0]}"
    moved = three.config(name)
    three.nodes[name] = ControlPlane.open(moved)
    for plane in three.nodes.values():
        wait(
            lambda plane=plane: any(
                (m.member_id, m.address, m.voter) == (old_id, three.addresses[name], True)
                for m in plane.status().raft.members
            )
        )
    wait(lambda: three.nodes[name].status().is_ready)
    assert put(three.nodes[name], "from-the-new-address")


def test_leadership_changes_under_load_and_no_client_sees_it(three: ThreeNodes) -> None:
    """Six times in a row, with writers through every node: none gets an error."""
    with under_load(three, "n0", "n1", "n2") as writing:
        for turn in range(6):
            before, to = len(writing.acknowledged), f"n{turn % 3}"
            # A machine that is busy with something else may miss one try.
            wait(lambda to=to: three.nodes["n0"]._runtime.ask_leader(Order.TRANSFER, to).result())
            wait(lambda to=to: three.leader() == to)
            wait(lambda before=before: len(writing.acknowledged) > before + 10)
    assert writing.errors == []
    for plane in three.nodes.values():
        assert set(writing.acknowledged) == jobs(plane)


def test_an_orderly_stop_hands_over_first(three: ThreeNodes) -> None:
    """No election timeout passes: the others have a leader when the old one is gone, and writers
    through them see no error."""
    old = three.leader()
    others = three.followers()
    with under_load(three, *others) as writing:
        wait(lambda: len(writing.acknowledged) > 10)
        three.stop(old)
        assert any(three.nodes[name]._runtime._node.leading for name in others)  # type: ignore[union-attr]
        before = len(writing.acknowledged)
        wait(lambda: len(writing.acknowledged) > before + 10)
    assert writing.errors == []


def test_a_removal_that_would_end_the_cluster_is_refused(three: ThreeNodes) -> None:
    """With one node down the other two are needed; the error names the one that is down."""
    down, other = three.followers()
    leader = three.leader()
    three.stop(down)
    wait(lambda: not all(m.connected for m in three.nodes[leader].status().raft.members))
    with pytest.raises(RecoveryError, match=f"without {other} there would be no quorum: {down}"):
        three.nodes[leader]._runtime.ask_leader(Order.REMOVE, other).result()
    three.nodes[other]._runtime.ask_leader(Order.REMOVE, down).result()
    wait(lambda: three.voters(three.nodes[leader]) == 2)


def test_without_a_quorum_no_order_is_taken(three: ThreeNodes) -> None:
    """The error is that of a write, at once."""
    last, *others = list(three.nodes)
    for name in others:
        three.stop(name)
    wait(lambda: not three.nodes[last].status().has_quorum)
    with pytest.raises(NotApplied):
        three.nodes[last]._runtime.ask_leader(Order.REMOVE, others[0]).result()


def test_a_waiting_node_is_told_whom_to_join(growing: Growing, tmp_path: Path) -> None:
    """Its configuration names nobody who answers; after an operator's word it learns and votes, and
    what was noted for that is forgotten. A node of a cluster joins no other."""
    config = growing.config("n1")
    nobody = {"n0": f"127.0.0.1:{free_ports(1)[0]}"}
    plane = ControlPlane.open(replace(config, raft=replace(config.raft, peers=nobody)))
    growing.nodes["n1"] = plane
    assert plane.status().mode is Mode.STARTING
    plane.lifecycle.join(growing.addresses["n0"])
    assert (tmp_path / "n1" / "join.json").exists()
    wait(lambda: growing.voters(growing.nodes["n0"]) == 2 and plane.status().is_ready)
    wait(lambda: not (tmp_path / "n1" / "join.json").exists())
    with pytest.raises(RecoveryError, match="belongs to cluster test already"):
        plane.lifecycle.join(growing.addresses["n2"])


def test_what_waits_at_a_leader_that_stops_is_written(three: ThreeNodes) -> None:
    """A pipeline under way when close() is called: each write is applied before the node is gone,
    by this leader or by the next one."""
    old = three.leader()
    plane = three.nodes[old]
    commands = [plane.jobs.put_command(f"job-{number}", {}) for number in range(300)]
    futures = [plane.submit(command) for command in commands]
    three.stop(old)
    assert all(isinstance(future.result(0), Applied) for future in futures)
    survivor = next(iter(three.nodes.values()))
    assert len(jobs(survivor)) == 300
