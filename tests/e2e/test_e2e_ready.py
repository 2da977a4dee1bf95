"""When a restarted node says that it is ready, and what it counts of its peers."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_fixture import wait

from heroctl_core.config.model import Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file
from heroctl_core.raft import core_side
from heroctl_core.testing.local_cluster import free_ports

WRITES = 100


@pytest.fixture
def lone(tmp_path: Path) -> Config:
    """A server on its own."""
    key = tmp_path / "a.key"
    generate_key_file(key)
    config = Config(node=Node(data_dir=tmp_path / "node"),
                    raft=Raft(listen=f"127.0.0.1:{free_ports(1)[0]}"))  # fmt: skip
    return replace(config, backup=replace(config.backup, encryption_key_file=(key,)))


def test_a_restarted_node_is_ready_when_it_shows_its_committed_log(
    lone: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer must not send readers to rows of before the last dump."""
    with ControlPlane.open(lone, bootstrap=True) as plane:
        wait(lambda: plane.status().is_ready)
        for i in range(WRITES):
            plane.jobs.put(f"job-{i}", {})  # an entry each
    monkeypatch.setattr(core_side, "APPLY_SLICE_S", -1.0)  # one entry a turn
    with ControlPlane.open(lone) as plane:
        first = wait(lambda: look if (look := plane.status()).is_ready else None)
        assert first.raft.applied_index > WRITES
        assert len(plane.jobs.list(consistency="stale")) == WRITES


def test_a_peer_that_sends_rubbish_is_cut_off_and_counted(lone: Config) -> None:
    """The status says how often: somebody knocks at the Raft port who does not belong there."""
    with ControlPlane.open(lone, bootstrap=True) as plane:
        host, port = lone.raft.listen.split(":")
        for knocks in (1, 2):
            with socket.create_connection((host, int(port)), timeout=10) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 64)
                assert stranger.recv(4096) is not None
                wait(lambda knocks=knocks: plane.status().raft.peers_cut_off == knocks)  # type: ignore[misc]
