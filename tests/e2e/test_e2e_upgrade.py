"""Two releases in one cluster: nodes are upgraded, and set back, one at a time under writes."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heroctl_core.client import new_request_id
from heroctl_core.errors import HeroctlError, NotApplied
from heroctl_core.testing.local_cluster import LocalCluster

ROOT = Path(__file__).resolve().parents[2]
# Sources of the oldest commit whose nodes must work together with ours, as CONTRIBUTING.md makes
# them: a checkout may lack the history.
OLDEST = Path(__file__).with_name("oldest_supported.tar.xz")


def run(*command: object, env: dict[str, str] | None = None) -> str:
    """What a command printed; the test fails with its error when it does."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the old release, installed from a wheel that was built of its commit."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(OLDEST) as sources:
        sources.extraction_filter = lambda member, _: member  # since 3.11.4 only
        sources.extractall(folder / "source")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    (wheel,) = folder.glob("*.whl")
    run(*pip, "install", "--no-deps", "--target", folder / "installed", wheel)
    where = "import heroctl_core; print(heroctl_core.__file__)"
    found = run(sys.executable, "-P", "-c", where, env={"PYTHONPATH": str(folder / "installed")})
    assert found.startswith(str(folder))
    return folder / "installed"


class Writer(threading.Thread):
    """Writes through all nodes in turn, each job once; repeats under the same id what failed."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__()
        self._cluster = cluster
        self.ending = threading.Event()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        nodes = list(self._cluster.nodes.values())
        number = 0
        while not self.ending.is_set():
            name, request_id = f"job-{number:05d}", new_request_id()
            while not self.ending.is_set():
                number += 1
                try:
                    with nodes[number % len(nodes)].client(timeout_s=10.0) as client:
                        path = f"/v1/jobs/{name}"
                        client.write("PUT", path, {"spec": {}}, expect=0, request_id=request_id)
                except HeroctlError as error:
                    assert error.reason != "conflict", "a write was applied twice"
                    self.ending.wait(0.02)
                else:
                    self.acknowledged.append(name)
                    break

    def more(self, count: int = 15) -> Callable[[], bool]:
        """Whether so many more writes than now are acknowledged."""
        wanted = len(self.acknowledged) + count
        return lambda: len(self.acknowledged) >= wanted


@pytest.fixture
def cluster(tmp_path: Path, old: Path) -> Iterator[LocalCluster]:
    """Three nodes of the old release that serve."""
    with LocalCluster(tmp_path / "cluster", election_timeout_ms=500) as three:
        for node in three.nodes.values():
            node.env["PYTHONPATH"] = str(old)
        three.start()
        three.wait_ready()
        yield three


def change(cluster: LocalCluster, writer: Writer, name: str, release: Path | None) -> None:
    """Stops a node and starts it with another release, or ours; then all take writes again."""
    assert cluster.stop(name) == {name: 0}
    env = cluster.nodes[name].env
    if release is None:
        env.pop("PYTHONPATH")
    else:
        env["PYTHONPATH"] = str(release)
    cluster.start(name)
    cluster.wait_ready()
    cluster.wait(writer.more(), "writes are acknowledged")


def transact(cluster: LocalCluster, name: str) -> None:
    """A command that the old release does not know."""
    part = {"action": "put", "kind": "node", "name": "new", "address": "10.0.0.1"}
    with cluster.nodes[name].client() as client:
        client.write("POST", "/v1/transaction", {"operations": [part]})


def jobs(cluster: LocalCluster, name: str) -> list[str]:
    """All that a linearizable read through one node shows."""
    found: list[str] = []
    with cluster.nodes[name].client() as client:
        after = ""
        while True:
            page = client.get("/v1/jobs", {"after": after} if after else None).body
            found += [job["name"] for job in page["items"]]
            after = page.get("next") or ""
            if not after:
                return found


def test_a_rolling_upgrade_and_a_way_back(cluster: LocalCluster, old: Path) -> None:
    """Old and new nodes serve together, with a leader of either; a node may be set back as long as
    not all are new. A command that an old voter does not know waits for it. Nothing that was
    acknowledged is lost, nothing is applied twice."""
    first, second, third = cluster.nodes
    writer = Writer(cluster)
    writer.start()
    try:
        cluster.wait(writer.more(), "writes are acknowledged")
        change(cluster, writer, first, None)
        change(cluster, writer, second, None)
        with pytest.raises(NotApplied, match=f"node {third} knows schema 1"):
            transact(cluster, first)
        change(cluster, writer, second, old)
        change(cluster, writer, third, None)
        with pytest.raises(NotApplied, match=f"node {second} knows schema 1"):
            transact(cluster, first)
        change(cluster, writer, second, None)
        transact(cluster, first)
    finally:
        writer.ending.set()
        writer.join()
    assert all("PYTHONPATH" not in node.env for node in cluster.nodes.values())
    everywhere = {name: jobs(cluster, name) for name in cluster.nodes}
    assert set(writer.acknowledged) <= set(everywhere[first])
    assert everywhere[first] == everywhere[second] == everywhere[third]
    assert len(writer.acknowledged) >= 90
