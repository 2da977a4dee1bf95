"""A forced bootstrap of a node that runs: one at a time, and never frozen for good."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from stopped_nodes import CLUSTER, StoppedNode

from heroctl_core import lifecycle
from heroctl_core.config.model import Backup, Cluster, Config, Node, Raft
from heroctl_core.control_plane import ControlPlane
from heroctl_core.errors import Busy, LogFull, OutcomeUnknown
from heroctl_core.offline import Peer
from heroctl_core.raft.log import Log
from heroctl_core.raft.runtime import Runtime
from heroctl_core.server.port import RestoreOptions
from heroctl_core.testing.local_cluster import free_ports

WAIT_S = 30.0


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is Busy while the first is between freeze and switch; the first then ends as if
    nobody had come between."""
    archive, config = _lonely(tmp_path)
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


def test_an_engine_without_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forced bootstrap that the engine's thread does not come to is Busy, and does not begin
    later: the node is not frozen."""
    archive, config = _lonely(tmp_path)
    monkeypatch.setattr(lifecycle, "_CALL_S", 0.05)
    go_on = Event()
    with ControlPlane.open(config) as plane:
        plane._runtime.call(lambda: go_on.wait(WAIT_S))
        try:
            with pytest.raises(Busy, match="nothing was changed"):
                plane.lifecycle.force_bootstrap(archive, RestoreOptions())
        finally:
            go_on.set()
        assert plane._runtime.call(lambda: plane._folder.mark("frozen")).result(WAIT_S) is None
        assert _generation(plane) == 1


def test_a_freeze_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is undone as soon as it has ended, and the node can be bootstrapped afterwards."""
    archive, config = _lonely(tmp_path)
    monkeypatch.setattr(lifecycle, "probe_peers", lambda *_: [])
    begun, go_on, freeze, call = Event(), Event(), Runtime.freeze, Runtime.call

    def slow(runtime: Runtime, reason: str) -> None:
        begun.set()
        freeze(runtime, reason)
        assert go_on.wait(WAIT_S)

    def begin(runtime: Runtime, function: Callable[[], object]) -> Future[object]:
        future = call(runtime, function)
        assert begun.wait(WAIT_S)
        return future

    with ControlPlane.open(config) as plane:
        with monkeypatch.context() as patch:
            patch.setattr(lifecycle, "_CALL_S", 0.05)
            patch.setattr(Runtime, "freeze", slow)
            patch.setattr(Runtime, "call", begin)
            with pytest.raises(OutcomeUnknown, match="not done with it"):
                plane.lifecycle.force_bootstrap(archive, RestoreOptions())
            go_on.set()
        assert plane._runtime.call(lambda: plane._folder.mark("frozen")).result(WAIT_S) is None
        assert _generation(plane) == 1
        plane.lifecycle.force_bootstrap(archive, RestoreOptions())
        assert _generation(plane) == 2


def test_a_freeze_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log cannot be synced nothing is frozen, and it can be tried again."""
    archive, config = _lonely(tmp_path)
    monkeypatch.setattr(lifecycle, "probe_peers", lambda *_: [])

    def full(_: Log) -> None:
        raise LogFull("no space for the log")

    with ControlPlane.open(config) as plane:
        with monkeypatch.context() as patch:
            patch.setattr(Log, "sync_commit", full)
            with pytest.raises(LogFull):
                plane.lifecycle.force_bootstrap(archive, RestoreOptions())
        assert not plane._runtime.call(lambda: plane._runtime._frozen).result(WAIT_S)
        plane.lifecycle.force_bootstrap(archive, RestoreOptions())
        assert _generation(plane) == 2


def _generation(plane: ControlPlane) -> int:
    """What CURRENT names; the status may not have been published yet."""
    header = plane._folder.header
    assert header is not None
    return header.generation


def _lonely(tmp_path: Path) -> tuple[Path, Config]:
    """An archive, and the configuration of a node with data whose two peers are not there."""
    node = StoppedNode(tmp_path / "data").begin().fill()
    archive = node.save(tmp_path / "snap.tar.gz")
    key_file = tmp_path / "backup.key"
    key_file.write_bytes(b64encode(b"k" * 32) + b"\n")
    key_file.chmod(0o600)
    mine, second, third = (f"127.0.0.1:{port}" for port in free_ports(3))
    return archive, Config(
        cluster=Cluster(name=CLUSTER),
        node=Node(name="node-1", data_dir=node.path),
        raft=Raft(listen=mine, peers={"node-2": second, "node-3": third}),
        backup=Backup(encryption_key_file=(key_file,)),
    )
