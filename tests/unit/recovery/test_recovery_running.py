"""A forced bootstrap of a node that runs: one at a time."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from stopped_nodes import CLUSTER, StoppedNode

from heroctl_core import lifecycle
from heroctl_core.config.model import Backup, Cluster, Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.errors import Busy
from heroctl_core.offline import Peer
from heroctl_core.server.port import RestoreOptions
from heroctl_core.testing.local_cluster import free_ports

WAIT_S = 30.0


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is Busy while the first is between freeze and switch; the first then ends as if
    nobody had come between."""
    node = StoppedNode(tmp_path / "data").begin().fill()
    archive = node.save(tmp_path / "snap.tar.gz")
    key_file = tmp_path / "backup.key"
    key_file.write_bytes(b64encode(b"k" * 32) + b"\n")
    key_file.chmod(0o600)
    mine, second, third = (f"127.0.0.1:{port}" for port in free_ports(3))
    config = Config(
        cluster=Cluster(name=CLUSTER),
        node=Node(name="node-1", data_dir=node.path),
        raft=Raft(listen=mine, peers={"node-2": second, "node-3": third}),
        backup=Backup(encryption_key_file=(key_file,)),
    )
    planning, go_on = Event(), Event()

    def slow(_addresses: Sequence[str], *_more: object) -> list[Peer]:
        planning.set()
        assert go_on.wait(WAIT_S)
        return []

    monkeypatch.setattr(lifecycle, "probe_peers", slow)
    with ControlPlane.open(config) as plane, ThreadPoolExecutor(1) as pool:
        first = pool.submit(plane.lifecycle.force_bootstrap, archive, RestoreOptions())
        try:
            assert planning.wait(WAIT_S), first.exception(0)
            with pytest.raises(Busy, match="another restore into this node is under way"):
                plane.lifecycle.force_bootstrap(archive, RestoreOptions())
        finally:
            go_on.set()
        assert first.result(WAIT_S).to_json()["generation"] == 2
        assert plane.status().raft.lineage[-1].number == 2
