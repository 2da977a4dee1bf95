"""Three real nodes: what a cluster keeps when nodes go, come back, or lose their disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster_fixture import ThreeNodes, put, wait

from heroctl_core.config.model import Backup, Cluster
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file, load_key_file
from heroctl_core.errors import CommandRejected, NodeFault, NotApplied, OutcomeUnknown, ReadOnly
from heroctl_core.raft.port import Mode
from heroctl_core.raft.proposals import DEADLINE_S
from heroctl_core.server.port import Status
from heroctl_core.snapshot.archive import open_archive


@pytest.fixture
def three(tmp_path: Path) -> Iterator[ThreeNodes]:
    """A cluster that takes writes."""
    cluster = ThreeNodes(tmp_path)
    try:
        cluster.start()
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


def names(cluster: ThreeNodes) -> dict[str, list[str]]:
    """The jobs that each node shows to a linearizable read."""
    return {n: [job.name for job in p.jobs.list()] for n, p in cluster.nodes.items()}


def lose_quorum(cluster: ThreeNodes) -> str:
    """Two nodes are gone; the name of the third, which knows it."""
    last, *others = cluster.followers()
    for name in [*others, cluster.leader()]:
        cluster.stop(name)
    wait(lambda: cluster.nodes[last].status().mode is Mode.READ_ONLY)
    return last


def test_a_write_through_any_node_is_visible_on_every_node(three: ThreeNodes) -> None:
    """Followers forward; a linearizable read on any node right after it shows the write."""
    for writer, plane in three.nodes.items():
        revision = plane.jobs.put("web", {"written by": writer}).revision
        for reader in three.nodes.values():
            job = reader.jobs.get("web")
            assert job.spec == {"written by": writer}
            assert job.revision == revision
    for name, plane in three.nodes.items():
        plane.secrets.put(f"secret-{name}", name.encode())
    for reader in three.nodes.values():
        for name in three.nodes:
            assert reader.secrets.get(f"secret-{name}").value == name.encode()


def test_one_of_two_writers_gets_the_conflict(three: ThreeNodes) -> None:
    """Of many writes with the same expect, over all nodes at once, exactly one is applied."""

    def create(name: str) -> str:
        try:
            three.nodes[name].jobs.put("raced", {"by": name}, expect=0)
        except CommandRejected as error:
            return error.reason
        return "applied"

    with ThreadPoolExecutor(9) as pool:
        ends = list(pool.map(create, [*three.nodes] * 3))
    assert sorted(ends) == ["applied"] + ["conflict"] * 8


def test_the_others_go_on_without_the_leader(three: ThreeNodes) -> None:
    """Nothing that was acknowledged is lost, the state is DEGRADED, and the old leader catches up
    when it is back."""
    for number in range(20):
        three.nodes[three.leader()].jobs.put(f"before-{number}", {})
    old = three.leader()
    three.stop(old)
    survivor = next(iter(three.nodes.values()))
    put(survivor, "after")
    assert three.leader() != old
    wait(lambda: survivor.status().mode is Mode.DEGRADED)
    three.start(old)
    three.wait_ready()
    wait(lambda: three.nodes[old].status().mode is Mode.NORMAL)
    everywhere = names(three)
    assert everywhere[old] == ["after", *sorted(f"before-{n}" for n in range(20))]
    assert len({tuple(found) for found in everywhere.values()}) == 1


def test_a_voter_that_is_gone_is_never_normal(three: ThreeNodes) -> None:
    """One look says both: the leader sees the closed connection, and is DEGRADED from then on."""
    leader = three.leader()
    plane = three.nodes[leader]
    wait(lambda: plane.status().mode is Mode.NORMAL)
    three.stop(next(name for name in three.nodes if name != leader))

    def without_it() -> Status | None:
        look = plane.status()
        return None if all(member.connected for member in look.raft.members) else look

    assert wait(without_it).mode is Mode.DEGRADED


def test_without_a_majority_the_last_node_is_read_only(three: ThreeNodes) -> None:
    """A write fails at once with the way out, a stale read answers and says how old it may be,
    and nobody has to do anything when the others are back."""
    three.nodes["n0"].jobs.put("web", {"replicas": 3})
    last = lose_quorum(three)
    plane = three.nodes[last]
    began = time.monotonic()
    with pytest.raises(ReadOnly, match="read-only") as caught:
        plane.jobs.put("web", {})
    assert time.monotonic() - began < DEADLINE_S, "it waited, although nobody could answer"
    assert "--force-bootstrap" in str(caught.value.hint)
    with pytest.raises(ReadOnly):
        plane.jobs.get("web")
    assert plane.jobs.get("web", consistency="stale").spec == {"replicas": 3}
    age_s = plane.status().age_s
    assert 0.0 < age_s < 60.0
    wait(lambda: plane.status().age_s > age_s)
    assert not plane.status().is_ready
    others = [name for name in three.addresses if name != last]
    three.start(others[0])
    wait(lambda: plane.status().mode is Mode.DEGRADED)
    put(plane, "web", replicas=4)
    three.start(others[1])
    three.wait_ready()
    wait(lambda: plane.status().mode is Mode.NORMAL)
    for node in three.nodes.values():
        assert node.jobs.get("web").spec == {"replicas": 4}


def test_a_write_that_meets_the_loss_of_the_majority_ends(three: ThreeNodes) -> None:
    """Within a second or two, as unknown or as not applied; repeating it with its request id
    when the others are back applies it once."""
    leader = three.leader()
    plane = three.nodes[leader]
    for name in three.followers():
        three.stop(name)
    request_id = plane._catalogue.writer.new_request_id()
    began = time.monotonic()
    with pytest.raises((OutcomeUnknown, NotApplied)):
        plane.jobs.put("web", {}, expect=0, request_id=request_id)
    assert time.monotonic() - began < DEADLINE_S, "it waited for an answer that cannot come"
    three.start(*[name for name in three.addresses if name != leader])
    three.wait_ready()
    written = wait(lambda: plane.jobs.put("web", {}, expect=0, request_id=request_id))
    again = plane.jobs.put("web", {}, expect=0, request_id=request_id)
    assert written == again
    assert names(three) == {name: ["web"] for name in three.nodes}


def test_a_node_that_lost_its_disk_comes_back_as_a_new_member(three: ThreeNodes) -> None:
    """It joins by itself, learns everything and votes; its old id is a member no more."""
    for number in range(50):
        three.nodes["n0"].jobs.put(f"job-{number}", {"number": number})
    lost = three.followers()[0]
    old_id = three.nodes[lost].status().raft.member_id
    three.wipe(lost)
    three.start(lost)
    wait(lambda: three.nodes[lost].status().is_ready)
    three.wait_ready()
    new_id = three.nodes[lost].status().raft.member_id
    assert new_id != old_id
    for plane in three.nodes.values():
        wait(lambda plane=plane: new_id in {m.member_id for m in plane.status().raft.members})
        members = plane.status().raft.members
        assert {m.name for m in members} == set(three.addresses)
        assert old_id not in {m.member_id for m in members}
    assert len(three.nodes[lost].jobs.list()) == 50
    three.stop(next(n for n in three.nodes if n != lost))
    put(three.nodes[lost], "counts as a voter")


def test_snapshots_are_the_same_through_every_node(three: ThreeNodes, tmp_path: Path) -> None:
    """Each node saves all that was acknowledged before, and the archive opens with the key."""
    for number in range(10):
        three.nodes["n1"].jobs.put(f"job-{number}", {"number": number})
    three.nodes["n2"].secrets.put("db-password", b"geheim")
    key = load_key_file(three.key_file)
    rows = []
    for name, plane in three.nodes.items():
        saved = plane.snapshot.save(tmp_path / f"{name}.tar.gz")
        assert not saved.stale
        assert saved.counts == {"jobs": 10, "secrets": 1, "acl_rules": 0, "nodes": 0}
        with open_archive(tmp_path / f"{name}.tar.gz", [key]) as archive:
            archive.verify()
            rows.append(dict(archive.records("jobs")))
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == 10


def test_a_snapshot_without_a_majority_is_marked_stale(three: ThreeNodes, tmp_path: Path) -> None:
    """The guide's worst day begins with saving what is left."""
    three.nodes["n0"].jobs.put("web", {})
    last = lose_quorum(three)
    saved = three.nodes[last].snapshot.save(tmp_path / "stale.tar.gz")
    assert saved.stale
    assert saved.counts["jobs"] == 1
    with open_archive(tmp_path / "stale.tar.gz", [load_key_file(three.key_file)]) as archive:
        assert archive.manifest.header.stale


def test_a_node_of_another_cluster_is_refused(three: ThreeNodes) -> None:
    """Its folder belongs elsewhere, so it does not even start; one with an empty folder finds
    nobody, and the others say whom they refused."""
    name = three.followers()[0]
    three.wipe(name)
    stranger = three.config(name, cluster=Cluster(name="another"))
    three.nodes[name] = ControlPlane.open(stranger)
    other = three.nodes[three.leader()]
    wait(lambda: any("'another'" in warning for warning in other.status().raft.warnings))
    assert three.nodes[name].status().mode is Mode.STARTING
    put(other, "goes on")


def test_a_node_with_another_key_stops(three: ThreeNodes, tmp_path: Path) -> None:
    """Exit code 8: it could not open a single secret; the others go on."""
    name = three.followers()[0]
    three.wipe(name)
    generate_key_file(tmp_path / "wrong.key")
    wrong = three.config(name, backup=Backup(encryption_key_file=(tmp_path / "wrong.key",)))
    three.nodes[name] = ControlPlane.open(wrong)
    fault = wait(lambda: three.nodes[name].fault)
    assert getattr(fault, "exit_code", None) == 8
    with pytest.raises(NodeFault):
        three.nodes[name].jobs.put("web", {})
    put(three.nodes[three.leader()], "goes on")


def test_acknowledged_writes_survive_every_change_of_leader(three: ThreeNodes) -> None:
    """Three writers go on through all nodes while the leader is stopped and started again, three
    times; what they were told is applied is on every node at the end, and nothing applied twice."""
    acknowledged: list[str] = []
    running = True

    def write(writer: int) -> None:
        number, turn = 0, writer
        while running:
            plane = list(three.nodes.values())[turn % 2]
            name = f"job-{writer}-{number}"
            try:
                plane.jobs.put(name, {}, expect=0)
            except (NotApplied, NodeFault, OutcomeUnknown):
                turn += 1
            else:
                acknowledged.append(name)
            number += 1

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        try:
            for _ in range(3):
                before = len(acknowledged)
                leader = three.leader()
                three.stop(leader)
                wait(lambda before=before: len(acknowledged) > before + 20)
                three.start(leader)
                three.wait_ready()
        finally:
            running = False
        for each in writers:
            each.result()
    assert len(acknowledged) == len(set(acknowledged)) > 60
    for found in names(three).values():
        assert set(acknowledged) <= set(found)
