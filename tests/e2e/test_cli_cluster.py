"""The command line on three real nodes: any node serves, quorum loss, snapshots under load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli_server import heroctl

from heroctl_core.errors import ReadOnly
from heroctl_core.raft.proposals import DEADLINE_S
from heroctl_core.testing.local_cluster import LocalCluster

JOB = "name: {}\nspec: {{image: web}}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes that serve."""
    with LocalCluster(tmp_path / "cluster") as three:
        three.start()
        three.wait_ready()
        yield three


@pytest.fixture
def at(cluster: LocalCluster) -> Callable[..., Any]:
    """Runs a command line against one node's socket."""

    def run(name: str, *words: object) -> Any:
        return heroctl(*words, HEROCTL_CONFIG=str(cluster.nodes[name].config_file))

    return run


def roles(cluster: LocalCluster) -> tuple[str, list[str]]:
    """The leader's name and the followers'."""
    leader = cluster.wait(
        lambda: next((s["leader"] for n in cluster.nodes if (s := cluster.status(n))), None),
        "a leader is known",
    )
    return leader, [name for name in cluster.nodes if name != leader]


def test_every_node_takes_writes_and_shows_them_all(
    cluster: LocalCluster, at: Callable[..., Any], tmp_path: Path
) -> None:
    """A write through any node is seen by the next read through any other."""
    for number, name in enumerate(cluster.nodes):
        path = tmp_path / "job.yaml"
        path.write_text(JOB.format(f"j{number}"))
        assert at(name, "job", "put", "-f", path).returncode == 0
        for other in cluster.nodes:
            listed = json.loads(at(other, "job", "list", "-o", "json").stdout)
            assert [job["name"] for job in listed] == [f"j{i}" for i in range(number + 1)]
    members = json.loads(at("node-2", "cluster", "members", "-o", "json").stdout)
    assert [(m["name"], m["role"], m["is_connected"]) for m in members] == [
        (name, "voter", True) for name in cluster.nodes
    ]


def test_the_cluster_goes_on_when_the_leader_is_killed(cluster: LocalCluster) -> None:
    """Another node leads; what was acknowledged is there; the killed one comes back."""
    leader, others = roles(cluster)
    with cluster.nodes[leader].client() as client:
        client.write("PUT", "/v1/jobs/a", {"spec": {}})
    cluster.kill(leader)
    cluster.wait(lambda: cluster.status(others[0])["leader"] in others, "another node leads")
    cluster.wait_ready(*others)
    with cluster.nodes[others[0]].client() as client:
        assert client.get("/v1/jobs/a").body["name"] == "a"
        client.write("PUT", "/v1/jobs/b", {"spec": {}})
    cluster.start(leader)
    cluster.wait_ready(leader)
    with cluster.nodes[leader].client() as client:
        assert [job["name"] for job in client.get("/v1/jobs").body["items"]] == ["a", "b"]


def test_without_a_quorum_writes_fail_at_once_and_reads_say_how_old_they_are(
    cluster: LocalCluster, at: Callable[..., Any], tmp_path: Path
) -> None:
    """READ_ONLY: exit code 4, and no write waits for its deadline; a snapshot still works;
    when the nodes are back, so is everything."""
    path = tmp_path / "job.yaml"
    path.write_text(JOB.format("a"))
    assert at("node-3", "job", "put", "-f", path).returncode == 0
    cluster.kill("node-1", "node-2")
    cluster.wait(lambda: cluster.status("node-3")["mode"] == "READ_ONLY", "READ_ONLY")
    with cluster.nodes["node-3"].client() as client:
        started = time.monotonic()
        with pytest.raises(ReadOnly):
            client.write("PUT", "/v1/jobs/a", {"spec": {}})
        assert time.monotonic() - started < DEADLINE_S, "a write waited, although nobody can answer"
        refused = at("node-3", "job", "put", "-f", path)
        assert refused.returncode == 4 and "--force-bootstrap" in refused.stderr
        assert client.get("/v1/jobs/a", {"consistency": "stale"}).age_s is not None
    listed = at("node-3", "job", "list")
    assert listed.returncode == 0 and "a " in listed.stdout and "s old" in listed.stderr
    assert at("node-3", "status", "--exit-code").returncode == 4
    saved = at("node-3", "snapshot", "save", tmp_path / "snap")
    assert saved.returncode == 0 and "no quorum" in saved.stderr
    assert at("node-3", "snapshot", "verify", tmp_path / "snap").returncode == 0
    cluster.start("node-1", "node-2")
    cluster.wait_ready()
    assert at("node-3", "job", "put", "-f", path).returncode == 0


def test_a_snapshot_through_a_follower_while_writes_go_on(
    cluster: LocalCluster, at: Callable[..., Any], tmp_path: Path
) -> None:
    """The archive is whole, and has every write that was acknowledged before the save."""
    leader, (follower, _) = roles(cluster)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with cluster.nodes[leader].client() as client:
            while not stop.is_set():
                client.write("PUT", f"/v1/jobs/j{len(written):06}", {"spec": {}})
                written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        cluster.wait(lambda: len(written) >= 50, "fifty writes")
        before = len(written)
        saved = at(follower, "snapshot", "save", tmp_path / "snap", "-o", "json")
    finally:
        stop.set()
        writer.join()
    assert saved.returncode == 0, saved.stderr
    assert json.loads(saved.stdout)["counts"]["jobs"] >= before
    assert at(follower, "snapshot", "verify", tmp_path / "snap").returncode == 0
