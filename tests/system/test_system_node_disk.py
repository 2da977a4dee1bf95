"""A whole node whose disk is full or fails: it stops, says why, and loses nothing."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from heroctl_core import codec
from heroctl_core.control_plane import ControlPlane
from heroctl_core.errors import HeroctlError, NodeFault, OutcomeUnknown
from heroctl_core.state.commands import PutJob

pytestmark = pytest.mark.system

KIB = 1024
MIB = 1024 * KIB
DEADLINE_S = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one and a half segments of the log."""
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "disk", point], check=True)
    yield point
    subprocess.run(["umount", "--lazy", point], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * KIB))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


def test_a_node_on_a_full_disk_stops_and_loses_nothing(disk: Path) -> None:
    """Every write ends: applied, or with an error; the fault names the folder and what to do. With
    room again the next start shows all that was acknowledged, and goes on."""
    plane = ControlPlane.open(data_dir=disk / "node")
    plane.jobs.put("first", {})
    ballast = fill(disk)
    writes = {}
    began = time.monotonic()
    while plane.fault is None:
        assert time.monotonic() - began < DEADLINE_S
        name = f"job-{len(writes)}"
        writes[name] = plane.submit(PutJob(name, codec.pack({"pad": "x" * 64 * KIB}), {}, None))
        wait(list(writes.values())[-1:], 0.05)
    ended = wait(writes.values(), 6.0)
    assert not ended.not_done
    errors = {name: future.exception() for name, future in writes.items()}
    assert all(error is None or isinstance(error, HeroctlError) for error in errors.values())
    assert any(isinstance(error, OutcomeUnknown | NodeFault) for error in errors.values())
    assert str(disk / "node") in str(plane.fault)
    assert "no space" in str(plane.fault)
    assert "make room" in str(plane.fault.hint)  # type: ignore[union-attr]
    with pytest.raises(NodeFault, match="no space"):
        plane.jobs.put("after", {})
    plane.close()
    ballast.unlink()
    with ControlPlane.open(data_dir=disk / "node") as again:
        there = {name for name, _ in again._runtime.machine.view().items("jobs")}
        acknowledged = {name for name, error in errors.items() if error is None}
        assert {"first"} | acknowledged <= there
        again.jobs.put("after", {})
