"""Generations that meet over real sockets, on real folders: who serves, who follows, who waits for
an operator. Nothing is ever lost: what a node leaves lies in its quarantine."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cluster_fixture import ELECTION_MS, ThreeNodes, put, wait

from heroctl_core import offline
from heroctl_core.clock import SystemClock
from heroctl_core.config.model import Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import load_key_file
from heroctl_core.errors import RecoveryError
from heroctl_core.lifecycle import probe_peers
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.port import Mode, RaftStatus
from heroctl_core.testing.local_cluster import free_ports


class Fenced(ThreeNodes):
    """Three nodes, and restores into the folders of those that are stopped."""

    def begin(self) -> Path:
        """A cluster with the job `kept`; an archive of that; then the job `later`."""
        self.start()
        self.wait_ready()
        self.nodes["n0"].jobs.put("kept", {})
        archive = self.folder / "snap.tar.gz"
        self.nodes["n0"].snapshot.save(archive)
        self.nodes["n0"].jobs.put("later", {})
        return archive

    def restore(self, name: str, archive: Path, config: Config | None = None) -> None:
        """`heroctl snapshot restore`, without anybody who would have to be asked."""
        config = config or self.config(name)
        keys = [load_key_file(self.key_file)]
        local = offline.Local(
            config.node.data_dir,
            keys,
            node_name=name,
            cluster_name="test",
            address=config.raft.listen,
            peers=config.raft.peers,
        )
        probe = partial(
            probe_peers, cluster_name="test", keys=keys, config=config, clock=SystemClock()
        )
        with offline.open_restore(archive, local, offline.Options(), probe=probe) as opened:
            opened.execute()

    def raft(self, name: str) -> RaftStatus:
        return self.nodes[name].status().raft

    def jobs(self) -> dict[str, list[str]]:
        """What each node shows to a linearizable read."""
        return {n: [job.name for job in p.jobs.list()] for n, p in self.nodes.items()}

    def wait_for_generation(self, number: int) -> None:
        """Until all three are voters of that generation."""
        for plane in self.nodes.values():
            wait(lambda plane=plane: plane.status().generation == number)
        self.wait_ready()

    def wait_fencing(self, name: str, state: str) -> RaftStatus:
        return wait(lambda: self.raft(name) if self.raft(name).fencing == state else None)

    def scratch(self) -> Config:
        """A fourth machine that knows the three."""
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        raft = Raft(listen=listen, peers=self.addresses, election_timeout_ms=ELECTION_MS)
        return replace(self.config("n0"), node=Node("scratch", self.folder / "scratch"), raft=raft)

    def quarantined(self, name: str) -> list[str]:
        return sorted(p.name.split("-")[0] for p in (self.folder / name / "quarantine").iterdir())


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Fenced]:
    cluster = Fenced(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.mark.parametrize("order", [*itertools.permutations(("restored", "old", "empty"))])
def test_a_restored_an_old_and_an_empty_node_in_any_order(
    three: Fenced, order: tuple[str, ...]
) -> None:
    """One cluster comes of it, with what was restored, and the old data is put away."""
    archive = three.begin()
    three.wipe("n2")
    three.close()
    three.restore("n0", archive)
    names = {"restored": "n0", "old": "n1", "empty": "n2"}
    for kind in order:
        three.start(names[kind])
    three.wait_for_generation(2)
    assert three.jobs() == {name: ["kept"] for name in three.addresses}
    assert three.quarantined("n1")[0] == "1"
    for name in three.addresses:
        three.wait_fencing(name, "serving")


def test_empty_nodes_that_are_started_first_wait(three: Fenced) -> None:
    """They found nothing; and nodes that left their data for a restore never found a cluster."""
    archive = three.begin()
    for name in ("n1", "n2"):
        three.wipe(name)
    three.stop("n0")
    three.restore("n0", archive)
    three.start("n1", "n2")
    for name in ("n1", "n2"):
        assert three.nodes[name].status().mode is Mode.STARTING
    three.start("n0")
    three.wait_for_generation(2)
    assert three.jobs() == {name: ["kept"] for name in three.addresses}


def test_a_live_majority_contests_until_an_operator_gives_the_restore_up(
    three: Fenced, caplog: pytest.LogCaptureFixture
) -> None:
    """No node of the majority stands aside. The restored one says that it is contested, also after
    a restart; `yield` makes it a member again, and its data is put away."""
    archive = three.begin()
    three.close()
    three.restore("n0", archive)
    three.start("n1", "n2")
    leader = wait(lambda: three.leader())
    put(three.nodes[leader], "goes on")
    three.start("n0")
    status = three.wait_fencing("n0", "contested")
    assert status.mode is Mode.READ_ONLY
    assert any(w.startswith("CONTESTED: ") and "cluster yield" in w for w in status.warnings)
    three.stop("n0")
    three.start("n0")
    three.wait_fencing("n0", "contested")
    plane = three.nodes["n0"]
    with pytest.raises(RecoveryError, match="still runs"):
        plane.lifecycle.resume(others_destroyed=True)
    with pytest.raises(RecoveryError, match="'wrong' was confirmed"):
        plane.lifecycle.yield_to("n1", confirm_cluster="wrong")
    with pytest.raises(RecoveryError, match="known as 'nobody'"):
        plane.lifecycle.yield_to("nobody", confirm_cluster="test")
    assert "quarantine" in plane.lifecycle.yield_to("n1", confirm_cluster="test")
    three.wait_for_generation(1)
    assert three.jobs() == {name: ["goes on", "kept", "later"] for name in three.addresses}
    assert not any("stands aside" in record.message for record in caplog.records)
    assert three.quarantined("n0") == ["2"]


def test_a_live_majority_contests_until_it_is_stopped(three: Fenced) -> None:
    """`resume` looks again: with the majority stopped the restore goes on, and the others follow
    it when they are started."""
    archive = three.begin()
    three.close()
    three.restore("n0", archive)
    three.start("n1", "n2")
    wait(three.leader)
    three.start("n0")
    three.wait_fencing("n0", "contested")
    for name in ("n1", "n2"):
        three.stop(name)
    three.nodes["n0"].lifecycle.resume(others_destroyed=False)  # at once: who is off refuses
    put(three.nodes["n0"], "after")
    three.start("n1", "n2")
    three.wait_for_generation(2)
    assert three.jobs() == {name: ["after", "kept"] for name in three.addresses}
    assert three.wait_fencing("n0", "serving").warnings == ()


def test_a_scratch_restore_does_not_disturb_a_healthy_cluster(
    three: Fenced, caplog: pytest.LogCaptureFixture
) -> None:
    """Restored into an empty folder of a fourth machine: it is contested; none of the others stands
    aside, also when one of them is started again beside it, and a new leader is found although it
    is there."""
    archive = three.begin()
    config = three.scratch()
    with pytest.raises(RecoveryError, match="serves with a quorum"):
        three.restore("scratch", archive, config)
    three.restore("scratch", archive, replace(config, raft=replace(config.raft, peers={})))
    three.nodes["scratch"] = ControlPlane.open(config)
    three.wait_fencing("scratch", "contested")
    scratch = three.nodes.pop("scratch")
    try:
        follower = three.followers()[0]
        three.stop(follower)
        three.start(follower)
        three.wait_ready()
        assert {three.raft(name).fencing for name in three.nodes} == {"serving"}
        leader = three.leader()
        three.stop(leader)
        put(next(iter(three.nodes.values())), "another leader")
        three.start(leader)
        three.wait_for_generation(1)
        assert scratch.status().raft.fencing == "contested"
    finally:
        scratch.close()
    assert not any(three.quarantined(name) for name in three.addresses)
    assert not any("stands aside" in record.message for record in caplog.records)


def test_a_restored_node_that_appears_while_there_is_no_leader(three: Fenced) -> None:
    """A cluster that is only changing its leader does not follow it."""
    archive = three.begin()
    config = three.scratch()
    three.restore("scratch", archive, replace(config, raft=replace(config.raft, peers={})))
    leader = three.leader()
    three.stop(leader)
    scratch = ControlPlane.open(config)
    try:
        wait(lambda: scratch.status().raft.fencing == "contested")
        others = list(three.nodes.values())
        put(others[0], "goes on")
        assert {p.status().generation for p in others} == {1}
    finally:
        scratch.close()


def test_of_two_restores_at_once_an_operator_chooses(three: Fenced) -> None:
    """Both are contested, the third node follows neither; one yields, the other one resumes."""
    archive = three.begin()
    three.close()
    for name in ("n0", "n1"):
        three.restore(name, archive)
    three.start("n0", "n1")
    ids = {n: three.wait_fencing(n, "contested").lineage[-1].restore_id for n in ("n0", "n1")}
    for name, other in (("n0", "n1"), ("n1", "n0")):
        (said,) = [w for w in three.raft(name).warnings if w.startswith("CONTESTED: ")]
        assert ids[other] in said and ids[name] in said and "cluster yield" in said
    three.start("n2")
    wait(lambda: three.raft("n2").mode is Mode.READ_ONLY)
    assert three.raft("n2").lineage[-1].number == 1
    three.nodes["n1"].lifecycle.yield_to(ids["n0"], confirm_cluster="test")
    three.nodes["n0"].lifecycle.resume(others_destroyed=False)
    three.wait_for_generation(2)
    assert three.jobs() == {name: ["kept"] for name in three.addresses}
    assert {three.raft(name).lineage[-1].restore_id for name in three.nodes} == {ids["n0"]}
    assert three.quarantined("n1") == ["2"]


def test_lost_disks_are_declared_lost(three: Fenced) -> None:
    """They can never say that they left: UNCONFIRMED until an operator says so, on one node for
    all, for good."""
    archive = three.begin()
    for name in ("n1", "n2"):
        three.wipe(name)
    three.stop("n0")
    three.restore("n0", archive)
    three.start()
    three.wait_for_generation(2)
    for name in three.nodes:
        (said,) = three.wait_fencing(name, "unconfirmed").warnings
        assert said.startswith("UNCONFIRMED: ") and "resume --others-destroyed" in said
    with pytest.raises(RecoveryError, match="nothing to resume"):
        three.nodes["n0"].lifecycle.resume(others_destroyed=False)
    three.nodes["n1"].lifecycle.resume(others_destroyed=True)
    for name in three.nodes:
        assert three.wait_fencing(name, "serving").warnings == ()
    three.stop("n0")
    three.start("n0")
    three.wait_ready()
    assert three.raft("n0").fencing == "serving"
    with pytest.raises(RecoveryError, match="known as 'n1'"):
        three.nodes["n0"].lifecycle.yield_to("n1", confirm_cluster="test")


def test_a_copied_folder_costs_only_its_own_node(three: Fenced) -> None:
    """Two processes with one member id: neither is heard, the other two go on and name the cause;
    with the copy stopped its origin is a member again."""
    three.begin()
    origin = three.followers()[0]
    three.stop(origin)
    shutil.copytree(three.folder / origin, three.folder / "copy", copy_function=_copy_sparse)
    (three.folder / "copy" / "heroctl.sock").unlink(missing_ok=True)
    config = three.config(origin)
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    config = replace(
        config,
        node=Node(origin, three.folder / "copy"),
        raft=replace(config.raft, listen=listen),
    )
    three.start(origin)
    three.wait_ready()
    copy = ControlPlane.open(config)
    others = [name for name in three.nodes if name != origin]
    try:
        for name in others:
            wait(lambda n=name: any("folder was copied" in w for w in three.raft(n).warnings))
        put(three.nodes[others[0]], "goes on")
    finally:
        copy.close()
    three.wait_ready()
    wait(lambda: three.nodes[origin].status().mode is Mode.NORMAL)
    assert "goes on" in [job.name for job in three.nodes[origin].jobs.list()]


def _copy_sparse(source: str, target: str) -> None:
    """A segment of a log is mostly zeros."""
    data = Path(source).read_bytes()
    with Path(target).open("wb") as file:
        file.write(data.rstrip(b"\0"))
        file.truncate(len(data))


STEPS = {
    "after the mark": 0,
    "after the rename": 1,
    "with a new member id, before it joins": 2,
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_leaves_a_node_goes_on_from_there(three: Fenced, step: str) -> None:
    """It ends as a member of the restored generation, and its old data is in quarantine."""
    archive = three.begin()
    three.close()
    three.restore("n0", archive)
    three.start("n0")
    restored = wait(lambda: three.raft("n0").lineage)[-1]
    folder = DataFolder.open(three.folder / "n1", node_name="n1", cluster_name="test")
    mark = {"generation": 2, "restore_id": restored.restore_id, "member_id": folder.member_id}
    folder.set_mark("left", mark)
    if STEPS[step] == 1:
        assert folder.header is not None
        name = folder.header.folder_name
        folder.generation_folder.rename(folder.path / "quarantine" / f"{name}-1")
    elif STEPS[step] == 2:
        folder.quarantine_generation()
    folder.close()
    three.start("n1", "n2")
    three.wait_for_generation(2)
    assert three.jobs() == {name: ["kept"] for name in three.addresses}
    assert three.quarantined("n1") == ["1"]
    assert three.wait_fencing("n0", "serving").warnings == ()
