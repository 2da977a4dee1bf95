"""The members of three real nodes by the command line: who leads, who goes, who comes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli_server import heroctl

from heroctl_core.testing.local_cluster import LocalCluster, LocalNode, free_ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that serve; one joins and one is removed, in the order of the tests."""
    folder = tmp_path_factory.mktemp("members")
    with LocalCluster(folder / "cluster", election_timeout_ms=500) as three:
        three.start()
        three.wait_ready()
        yield three


def run(node: LocalNode, *words: object) -> Any:
    """A command line against one node's socket or folder."""
    return heroctl(*words, HEROCTL_CONFIG=str(node.config_file))


def members(node: LocalNode) -> dict[str, dict[str, Any]]:
    """The members by name, as any node tells them."""
    told = run(node, "cluster", "members", "-o", "json")
    assert told.returncode == 0, told.stderr
    return {member["name"]: member for member in json.loads(told.stdout)}


def start(node: LocalNode) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself, with what it said."""
    command = [sys.executable, "-m", "heroctl_cli", "server", "--config", str(node.config_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_every_node_shows_what_the_leader_sees(cluster: LocalCluster) -> None:
    """How far each member is, when it was heard, what it runs; as a table too."""
    for node in cluster.nodes.values():
        told = members(node)
        assert [m["role"] for m in told.values()] == ["voter"] * 3
        assert [m["is_leader"] for m in told.values()].count(True) == 1
        assert all(
            m["lag"] is not None and m["heard_s"] < 5 and m["version"] for m in told.values()
        )
    table = run(cluster.nodes["node-1"], "cluster", "members").stdout.splitlines()
    assert table[0].split() == (
        ["MEMBER", "ADDRESS", "ROLE", "CONNECTED", "HEARD", "MATCH", "LAG", "VERSION", "ID"]
    )
    assert len(table) == 4


def test_leadership_is_handed_over_by_command(cluster: LocalCluster) -> None:
    """To the named node, whichever is asked; without a name to another than now."""
    any_node = cluster.nodes["node-1"]
    for name in cluster.nodes:
        done = run(any_node, "cluster", "transfer-leader", name)
        assert (done.returncode, done.stdout) == (0, f"leader: {name}\n"), done.stderr
    before = next(name for name, m in members(any_node).items() if m["is_leader"])
    done = run(any_node, "cluster", "transfer-leader")
    assert done.returncode == 0
    assert done.stdout != f"leader: {before}\n"
    assert run(any_node, "cluster", "transfer-leader", "nobody").returncode == 6


def test_an_empty_node_joins_by_the_address_of_a_member(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """Without peers in its configuration it says what it needs; told an address it learns and
    votes, and one that has a cluster joins no other."""
    member = cluster.nodes["node-1"]
    folder = tmp_path / "node-4"
    folder.mkdir()
    api, raft = (f"127.0.0.1:{port}" for port in free_ports(2))
    config = json.loads(member.config_file.read_bytes())
    config["cluster"] = {"name": "local"}
    config["node"] = {"name": "node-4", "data_dir": str(folder / "data")}
    config["raft"] |= {"listen": raft, "peers": {}}
    config["api"] = {"listen": api, "socket": str(folder / "heroctl.sock")}
    new = LocalNode("node-4", folder, api, raft)
    new.config_file.write_text(json.dumps(config))
    refused = start(new)
    assert refused.returncode == 2
    assert "heroctl cluster join" in refused.stderr
    joined = run(new, "cluster", "join", member.raft)
    assert joined.returncode == 0, joined.stderr
    cluster.nodes["node-4"] = new
    cluster.start("node-4")
    cluster.wait(lambda: members(member).get("node-4", {}).get("role") == "voter", "it votes")
    assert run(new, "cluster", "join", member.raft).returncode == 9


def test_a_removed_server_ends_with_code_9_and_stays_away(cluster: LocalCluster) -> None:
    """Also the leader's; a restart says the same."""
    leader = next(name for name, m in members(cluster.nodes["node-1"]).items() if m["is_leader"])
    through = next(node for name, node in cluster.nodes.items() if name != leader)
    assert run(through, "cluster", "remove", leader).returncode == 2  # nobody to ask, no --yes
    done = run(through, "cluster", "remove", leader, "--yes")
    assert (done.returncode, done.stdout) == (0, f"member {leader}: removed\n"), done.stderr
    gone = cluster.nodes[leader]
    assert gone.process is not None
    assert gone.process.wait(20) == 9
    assert "was removed from cluster local at log index" in cluster.log_tail(leader)
    again = start(gone)
    assert again.returncode == 9
    assert "was removed from cluster local" in again.stderr
    assert f"move {gone.data_dir} away" in again.stderr
    assert members(through).keys() == cluster.nodes.keys() - {leader}
