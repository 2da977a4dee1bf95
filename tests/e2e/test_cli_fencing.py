"""The worst misunderstanding, from the command line: a node is forced to go on alone although the
others serve behind a partition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli_server import heroctl

from heroctl_core.testing.faulty_cluster import FaultyCluster

CLUSTER = "faults"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FaultyCluster]:
    """Three processes behind a network that can be cut."""
    with FaultyCluster(tmp_path / "cluster", size=3, election_timeout_ms=500, tls=True) as nodes:
        nodes.start()
        nodes.wait_ready()
        yield nodes


@pytest.fixture
def at(cluster: FaultyCluster) -> Callable[..., Any]:
    """Runs a command line on one node's machine."""

    def run(name: str, *words: object) -> Any:
        return heroctl(*words, HEROCTL_CONFIG=str(cluster.nodes[name].config_file))

    return run


def write(cluster: FaultyCluster, name: str, job: str) -> None:
    with cluster.nodes[name].client() as client:
        client.write("PUT", f"/v1/jobs/{job}", {"spec": {}})


def jobs(cluster: FaultyCluster, name: str) -> list[str]:
    with cluster.nodes[name].client() as client:
        return [job["name"] for job in client.get("/v1/jobs").body["items"]]


def test_a_majority_that_was_hidden_in_a_partition(
    cluster: FaultyCluster, at: Callable[..., Any], tmp_path: Path
) -> None:
    """Both sides took writes. When they meet, the majority goes on; the forced node says in big
    letters that it is contested, and how to give up or go on."""
    write(cluster, "node-1", "kept")
    archive = tmp_path / "snap.tar.gz"
    assert at("node-3", "snapshot", "save", archive).returncode == 0
    if cluster.leader() == "node-3":
        cluster.stop("node-3")
        cluster.wait(lambda: cluster.leader() in ("node-1", "node-2"), "another leader")
        cluster.start("node-3")
        cluster.wait_ready()
    cluster.network.cut(["node-3"], ["node-1", "node-2"])
    cluster.network.cut(["node-1", "node-2"], ["node-3"])
    cluster.wait(lambda: cluster.status("node-3")["mode"] == "READ_ONLY", "READ_ONLY")
    confirmed = ("--yes", "--confirm-cluster", CLUSTER)
    forced = at("node-3", "snapshot", "restore", archive, "--force-bootstrap", *confirmed)
    assert forced.returncode == 0, forced.stderr
    write(cluster, "node-3", "minority")
    write(cluster, "node-1", "majority")
    assert "UNCONFIRMED: " in at("node-3", "status").stderr
    cluster.network.heal()
    cluster.wait(lambda: cluster.status("node-3")["fencing"] == "contested", "contested")
    shown = at("node-3", "status", "--exit-code")
    assert shown.returncode == 4 and "CONTESTED: " in shown.stderr, shown.stderr
    write(cluster, "node-2", "after")
    refused = at("node-3", "cluster", "resume", "-o", "json")
    assert refused.returncode == 9, refused.stderr
    assert "still runs" in json.loads(refused.stderr)["message"]
    asked = at("node-3", "cluster", "yield", "node-1")
    assert asked.returncode == 2 and f"--yes --confirm-cluster {CLUSTER}" in asked.stderr
    wrong = at("node-3", "cluster", "yield", "node-1", "--yes", "--confirm-cluster", "x")
    assert wrong.returncode == 9, wrong.stderr
    healthy = at("node-1", "cluster", "yield", "node-3", *confirmed)
    assert healthy.returncode == 9 and "gives up nothing" in healthy.stderr
    given_up = at("node-3", "cluster", "yield", "node-1", *confirmed)
    assert given_up.returncode == 0 and "quarantine" in given_up.stdout, given_up.stderr
    cluster.wait_ready()
    assert jobs(cluster, "node-3") == ["after", "kept", "majority"]
    own = at("node-1", "cluster", "yield", "node-3")  # not even asked, as one of it now
    assert own.returncode == 9 and "nothing to give up" in own.stderr
    (left,) = (cluster.nodes["node-3"].data_dir / "quarantine").iterdir()
    assert left.name.startswith("2-")
