"""SIGKILL anywhere in a restore: the folder is always usable, and the same command succeeds."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stopped_nodes import CLUSTER, T0, StoppedNode, copy_node, life_after_the_snapshot, rows

from heroctl_core import offline
from heroctl_core.offline import Options, Peer
from heroctl_core.raft.folder import DataFolder
from heroctl_core.recovery.restore import STEPS
from heroctl_core.testing.clock import ManualClock

if TYPE_CHECKING:
    from conftest import Names

FORCED = Options(force_bootstrap=True)


def nobody(_addresses: Sequence[str]) -> list[Peer]:
    return []


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the node's data and an archive of it; copied by each test."""
    path = tmp_path_factory.mktemp("prepared")
    node = StoppedNode(path / "data").begin().fill()
    node.save(path / "snap.tar.gz")
    life_after_the_snapshot(node)
    return path


def restore(path: Path, step: Callable[[str], None] = lambda _: None) -> offline.RestoreReport:
    node = StoppedNode(path / "data")
    clock = ManualClock(T0 + 10_000)
    archive = path / "snap.tar.gz"
    with offline.open_restore(archive, node.local(), FORCED, probe=nobody, clock=clock) as opened:
        return opened.execute(step)


def killed(path: Path, body: Callable[[], object]) -> bool:
    """Runs `body` in a process of its own; True when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def check(path: Path, prepared: Path) -> None:
    """The folder shows the old state or the new one; the same command then gives the new one."""
    old = rows(StoppedNode(prepared / "data").view())
    node = StoppedNode(path / "data")
    new_is_there = rows(node.view()) != old
    copy_node(path / "data", path / "started")
    DataFolder.open(path / "started", node_name="node-1", cluster_name=CLUSTER).close()
    assert (rows(StoppedNode(path / "started").view()) != old) == new_is_there
    report = restore(path)
    assert report.finished == new_is_there
    again = restore(path)
    assert again.finished
    assert again.receipt == report.receipt
    folder = DataFolder.open(node.path, node_name="node-1", cluster_name=CLUSTER)
    folder.close()
    assert folder.header is not None
    assert folder.header.lineage[-1].restore_id == report.receipt["restore_id"]
    assert folder.header.generation == 2
    assert len(folder.header.parent_voters) == 3
    assert node.view().get("jobs", "db") is not None
    assert node.view().get("jobs", "new") is None
    assert list(node.path.glob("spool/*")) == []
    assert any(rows_of_old(folder, old))


def rows_of_old(folder: DataFolder, old: object) -> list[bool]:
    """Whether some generation beside the current one still shows the old state."""
    current = folder.generation_folder
    others = [p for p in folder.generations.iterdir() if p != current]
    return [(p / "header.json").exists() for p in others]


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_a_step(tmp_path: Path, prepared: Path, step: str) -> None:
    """Each step is a point where the process may end."""
    path = tmp_path / "copy"
    copy_node(prepared, path)
    assert killed(path, lambda: restore(path, lambda name: die() if name == step else None))
    check(path, prepared)


def test_killed_at_every_fsync_and_rename(tmp_path: Path, prepared: Path) -> None:
    """Also inside the steps: before each fsync, rename and unlink of the whole restore."""
    count = 0
    while True:
        path = tmp_path / f"copy-{count}"
        copy_node(prepared, path)
        if not killed(path, lambda at=count, path=path: dying_restore(path, at)):  # type: ignore[misc]
            break
        check(path, prepared)
        shutil.rmtree(path)
        count += 1
    assert count > 30


def dying_restore(path: Path, at: int) -> None:
    """A restore that dies before its file operation number `at`. In a process of its own."""
    left = at

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            nonlocal left
            if left == 0:
                die()
            left -= 1
            return real(*args, **more)

        return call

    for name in ("fsync", "fdatasync", "rename", "replace", "unlink", "link", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    restore(path)


def test_every_new_name_is_durable_before_the_switch(
    tmp_path: Path, prepared: Path, names: Names
) -> None:
    """A power cut may undo a rename until its folder is synced. None is left to be undone when
    CURRENT comes to name the new generation."""
    path = tmp_path / "copy"
    copy_node(prepared, path)
    names.unsynced.clear()
    restore(path)
    assert names.at_current == [set()]
    assert names.unsynced == set()
