"""The guide's restores from the command line: stopped folders, the running node, every refusal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli_server import WAIT_S, environment, heroctl

from heroctl_core.testing.local_cluster import LocalCluster

CLUSTER = "local"


@pytest.fixture
def size() -> int:
    """How many nodes a test needs; `one_node` makes it one."""
    return 3


one_node = pytest.mark.parametrize("size", [1])


@pytest.fixture
def cluster(tmp_path: Path, size: int) -> Iterator[LocalCluster]:
    """Nodes that serve, with three jobs and a secret."""
    with LocalCluster(tmp_path / "cluster", name=CLUSTER, size=size) as nodes:
        nodes.start(bootstrap=size == 1)
        nodes.wait_ready()
        with nodes.nodes["node-1"].client() as client:
            for name in ("a", "b", "c"):
                client.write("PUT", f"/v1/jobs/{name}", {"spec": {"name": name}})
            client.write("PUT", "/v1/secrets/s", {"value": "hunter2"})
        yield nodes


@pytest.fixture
def at(cluster: LocalCluster) -> Callable[..., Any]:
    """Runs a command line on one node's machine."""

    def run(name: str, *words: object) -> Any:
        return heroctl(*words, HEROCTL_CONFIG=str(cluster.nodes[name].config_file))

    return run


@pytest.fixture
def archive(cluster: LocalCluster, at: Callable[..., Any], tmp_path: Path) -> Path:
    """A snapshot; afterwards a job is deleted and another one is new."""
    path = tmp_path / "snap.tar.gz"
    last = f"node-{len(cluster.nodes)}"
    assert at(last, "snapshot", "save", path).returncode == 0
    with cluster.nodes["node-1"].client() as client:
        client.write("DELETE", "/v1/jobs/a")
        client.write("PUT", "/v1/jobs/later", {"spec": {}})
    return path


def jobs(cluster: LocalCluster, name: str) -> list[str]:
    """The names that a linearizable read through one node shows."""
    with cluster.nodes[name].client() as client:
        return [job["name"] for job in client.get("/v1/jobs").body["items"]]


def test_the_guides_restore(cluster: LocalCluster, at: Callable[..., Any], archive: Path) -> None:
    """Stop all, restore on one, start it, start the others: everything is as it was saved."""
    assert set(cluster.stop().values()) == {0}
    done = at("node-2", "snapshot", "restore", archive, "--yes", "--confirm-cluster", CLUSTER)
    assert done.returncode == 0, done.stderr
    assert "included: 3 jobs, 1 secrets, 0 acl rules, 0 nodes" in done.stdout
    assert "restored: cluster local, generation 2" in done.stdout
    assert re.search(r"safety copy of the state before: (\S+)", done.stdout)
    assert "server.yaml" in done.stdout and "next:" in done.stdout
    cluster.start("node-2")
    cluster.wait_ready("node-2")
    assert jobs(cluster, "node-2") == ["a", "b", "c"]
    cluster.start()
    cluster.wait_ready()
    for name in cluster.nodes:
        cluster.wait(lambda n=name: len(cluster.status(n)["members"]) == 3, "three members")
        assert jobs(cluster, name) == ["a", "b", "c"]
    with cluster.nodes["node-3"].client() as client:
        assert client.get("/v1/secrets/s").body["value"] == "hunter2"


def test_the_worst_day(cluster: LocalCluster, at: Callable[..., Any], archive: Path) -> None:
    """Every node killed, two disks gone: forced bootstrap on the third, the others join empty."""
    cluster.kill()
    cluster.destroy("node-1")
    cluster.destroy("node-2")
    words = ("snapshot", "restore", archive, "--force-bootstrap")
    done = at("node-3", *words, "--yes", "--confirm-cluster", CLUSTER, "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["generation"], report["counts"]["jobs"]) == (2, 3)
    cluster.start("node-3")
    cluster.wait_ready("node-3")
    cluster.start()
    cluster.wait_ready()
    for name in cluster.nodes:
        assert jobs(cluster, name) == ["a", "b", "c"]


def test_a_running_node_without_a_quorum_does_it_itself(
    cluster: LocalCluster, at: Callable[..., Any], archive: Path
) -> None:
    """The guide's scenario 1: the server is not stopped. With a quorum it refuses, exit code 9."""
    words = ("snapshot", "restore", archive, "--force-bootstrap")
    refused = at("node-3", *words, "--yes", "--confirm-cluster", CLUSTER)
    assert refused.returncode == 9 and "quorum" in refused.stderr
    cluster.kill("node-1", "node-2")
    cluster.wait(lambda: cluster.status("node-3")["mode"] == "READ_ONLY", "READ_ONLY")
    planned = at("node-3", *words, "--dry-run")
    assert planned.returncode == 0 and "nothing was changed" in planned.stderr, planned.stderr
    assert cluster.status("node-3")["generation"] == 1
    done = at("node-3", *words, "--yes", "--confirm-cluster", CLUSTER)
    assert done.returncode == 0, done.stderr
    assert "generation 2" in done.stdout
    assert "on node-3: heroctl status (wait for a leader)\n  on node-1, then:" in done.stdout
    assert "first:" not in done.stdout
    receipt = json.loads((cluster.nodes["node-3"].data_dir / "receipt.json").read_text())
    assert receipt["archive"] == str(archive)
    assert jobs(cluster, "node-3") == ["a", "b", "c"]
    cluster.start("node-1", "node-2")
    cluster.wait_ready()
    assert jobs(cluster, "node-1") == ["a", "b", "c"]


@one_node
def test_a_folder_of_a_running_node_is_not_restored(
    cluster: LocalCluster, at: Callable[..., Any], archive: Path
) -> None:
    """Exit code 13; the process is named, and how to stop it."""
    done = at("node-1", "snapshot", "restore", archive, "--yes", "--confirm-cluster", CLUSTER)
    assert done.returncode == 13, done.stderr
    process = cluster.nodes["node-1"].process
    assert process is not None and f"pid {process.pid}" in done.stderr
    assert "systemctl stop heroctl-server" in done.stderr
    # Its socket is not in the folder: the hint must not send the operator in a circle.
    data_dir, key_file = cluster.nodes["node-1"].data_dir, cluster.folder / "backup.key"
    local = ("--data-dir", data_dir, "--key-file", key_file)
    forced = heroctl("snapshot", "restore", archive, "--force-bootstrap", *local)
    assert forced.returncode == 13, forced.stderr
    assert "HEROCTL_CONFIG" in forced.stderr and "--force-bootstrap" not in forced.stderr
    assert jobs(cluster, "node-1") == ["b", "c", "later"]


def test_while_peers_serve_nothing_is_restored(
    cluster: LocalCluster, at: Callable[..., Any], archive: Path
) -> None:
    """Two of three serve: refused with exit code 9, forced or not, and the serving nodes named."""
    cluster.stop("node-1")
    for force in ((), ("--force-bootstrap",)):
        words = ("snapshot", "restore", archive, *force, "--yes", "--confirm-cluster", CLUSTER)
        done = at("node-1", *words)
        assert done.returncode == 9 and "node-2" in done.stderr, done.stderr
    cluster.start("node-1")
    cluster.wait_ready()
    assert jobs(cluster, "node-1") == ["b", "c", "later"]


@one_node
def test_nothing_is_changed_without_a_clear_yes(
    cluster: LocalCluster, at: Callable[..., Any], archive: Path
) -> None:
    """Without a terminal both words are needed and must fit; a dry run prints the plan."""
    cluster.stop()
    restore = ("snapshot", "restore", archive)
    for words, said in (
        ((), "--yes --confirm-cluster local"),
        (("--yes",), "--yes --confirm-cluster local"),
        (("--confirm-cluster", CLUSTER), "--yes --confirm-cluster local"),
    ):
        done = at("node-1", *restore, *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    wrong = at("node-1", *restore, "--yes", "--confirm-cluster", "other")
    assert wrong.returncode == 9 and "other" in wrong.stderr
    pinned = at("node-1", *restore, "--expect-sha256", "0" * 64, "--dry-run")
    assert pinned.returncode == 9 and "sha256" in pinned.stderr
    plan = json.loads(at("node-1", *restore, "--dry-run", "-o", "json").stdout)
    assert plan["generation"] == 2 and plan["archive"] == str(archive)
    lost = {loss["kind"]: (loss["dropped"], loss["returned"]) for loss in plan["lost"]}
    assert lost == {"jobs": (1, 1)}
    cluster.start()
    cluster.wait_ready()
    assert cluster.status("node-1")["generation"] == 1
    assert jobs(cluster, "node-1") == ["b", "c", "later"]


def on_terminal(*words: object, typed: str, **more: str) -> tuple[int, str]:
    """Exit code and screen of a command that a person runs, answering its one question."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "heroctl_cli", *map(str, words)],
        stdin=follower, stdout=follower, stderr=follower, env=environment(**more),
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    screen = b""
    answered = False
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other side is closed: that is how a terminal ends
            break
        if not part:
            break
        screen += part
        if not answered and b"to restore:" in screen:
            os.write(leader, typed.encode() + b"\n")
            answered = True
    os.close(leader)
    return process.wait(WAIT_S), screen.decode().replace("\r\n", "\n")


@one_node
def test_on_a_terminal_the_clusters_name_is_asked_for(cluster: LocalCluster, archive: Path) -> None:
    """The guide's literal command; the plan is shown before the question."""
    cluster.stop()
    config = str(cluster.nodes["node-1"].config_file)
    words = ("snapshot", "restore", archive)
    code, screen = on_terminal(*words, typed="wrong", HEROCTL_CONFIG=config)
    assert code == 2 and "nothing was changed" in screen
    assert "brings back  3 jobs" in screen and "jobs: 1 only in the state before" in screen
    code, screen = on_terminal(*words, typed=CLUSTER, HEROCTL_CONFIG=config)
    assert code == 0 and "restored: cluster local, generation 2" in screen, screen


@one_node
def test_a_stopped_folder_is_saved(
    cluster: LocalCluster, at: Callable[..., Any], tmp_path: Path
) -> None:
    """Also without a configuration, by folder and key; the three lines; a running one is refused
    by its lock when its socket is not known."""
    node = cluster.nodes["node-1"]
    held = heroctl(
        "snapshot", "save", tmp_path / "x", "--data-dir", node.data_dir,
        "--key-file", cluster.key_file,
    )  # fmt: skip
    assert held.returncode == 13 and not (tmp_path / "x").exists(), held.stderr
    cluster.kill()
    # A node that was killed may not have noted yet that its last entries were committed.
    done = at("node-1", "snapshot", "save", tmp_path / "one", "--include-uncommitted")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "included: 3 jobs, 1 secrets, 0 acl rules, 0 nodes"
    other = heroctl(
        "snapshot", "save", tmp_path / "two", "--data-dir", node.data_dir,
        HEROCTL_KEY_FILE=str(cluster.key_file),
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    for name in ("one", "two"):
        words = ("snapshot", "verify", tmp_path / name, "--key-file", cluster.key_file)
        assert heroctl(*words).returncode == 0
    no_key = heroctl("snapshot", "save", tmp_path / "y", "--data-dir", node.data_dir)
    assert no_key.returncode == 8 and not (tmp_path / "y").exists()
    nothing = heroctl("snapshot", "save", tmp_path / "z", "--data-dir", tmp_path / "none")
    assert nothing.returncode == 3


@one_node
def test_a_new_machine_needs_archive_and_key_only(
    cluster: LocalCluster, archive: Path, tmp_path: Path
) -> None:
    """Restored from a pipe into a folder that did not exist, then served and read."""
    cluster.stop()
    with LocalCluster(tmp_path / "new", size=1, name=CLUSTER) as lone:
        lone.key_file.write_bytes(cluster.key_file.read_bytes())
        node = lone.nodes["node-1"]
        with archive.open("rb") as pipe:
            done = subprocess.run(
                [sys.executable, "-m", "heroctl_cli", "snapshot", "restore", "-", "--yes",
                 "--confirm-cluster", CLUSTER],
                stdin=pipe, capture_output=True, text=True, check=False, timeout=WAIT_S,
                env=environment(HEROCTL_CONFIG=str(node.config_file)),
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lone.start()
        lone.wait_ready()
        assert jobs(lone, "node-1") == ["a", "b", "c"]
        with node.client() as client:
            assert client.get("/v1/secrets/s").body["value"] == "hunter2"


@one_node
def test_a_bad_archive_changes_nothing(
    cluster: LocalCluster, at: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    """Truncated, flipped, foreign: exit code 7; another key: 8; missing: named."""
    cluster.stop()
    content = archive.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    words = ("--yes", "--confirm-cluster", CLUSTER)
    for name, data in (("cut", content[:-600]), ("flip", bytes(flipped)), ("text", b"hello")):
        (tmp_path / name).write_bytes(data)
        done = at("node-1", "snapshot", "restore", tmp_path / name, *words)
        assert done.returncode == 7 and str(tmp_path / name) in done.stderr, done.stderr
    other = tmp_path / "other.key"
    heroctl("key", "generate", other)
    wrong = at("node-1", "snapshot", "restore", archive, *words, "--key-file", other)
    assert wrong.returncode == 8, wrong.stderr
    missing = at("node-1", "snapshot", "restore", tmp_path / "none", *words)
    assert missing.returncode == 2 and "none: no such file" in missing.stderr
    cluster.start()
    cluster.wait_ready()
    assert jobs(cluster, "node-1") == ["b", "c", "later"]
