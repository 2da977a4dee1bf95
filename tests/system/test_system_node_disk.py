"""A whole node whose disk is full: it says so, waits for room, and loses nothing."""

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
from heroctl_core.errors import HeroctlError, OutcomeUnknown, ReadOnly
from heroctl_core.raft.port import Mode
from heroctl_core.state.commands import PutJob

pytestmark = pytest.mark.system

KIB = 1024
MIB = 1024 * KIB
DEADLINE_S = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the first segment of the log and for the next one."""
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "disk", point], check=True)
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


def test_a_node_on_a_full_disk_waits_for_room_and_loses_nothing(disk: Path) -> None:
    """Every write ends: applied, or with an error; the status names the folder and what it lacks.
    With room again the node goes on by itself, and shows all that was acknowledged."""
    with ControlPlane.open(data_dir=disk / "node") as plane:
        plane.jobs.put("first", {})
        ballast = fill(disk)
        writes = {}
        began = time.monotonic()
        while not any("no space" in warning for warning in plane.status().raft.warnings):
            assert time.monotonic() - began < DEADLINE_S
            name = f"job-{len(writes)}"
            writes[name] = plane.submit(PutJob(name, codec.pack({"pad": "x" * 64 * KIB}), {}, None))
            wait(list(writes.values())[-1:], 0.05)
        assert not wait(writes.values(), 6.0).not_done
        errors = {name: future.exception() for name, future in writes.items()}
        assert all(error is None or isinstance(error, HeroctlError) for error in errors.values())
        assert any(isinstance(error, OutcomeUnknown | ReadOnly) for error in errors.values())
        with pytest.raises(ReadOnly, match="no space") as caught:
            plane.jobs.put("after", {})
        assert str(disk / "node") in str(caught.value)
        assert "make room" in str(caught.value.hint)
        assert plane.fault is None
        ballast.unlink()
        while plane.status().mode is Mode.READ_ONLY:
            assert time.monotonic() - began < DEADLINE_S
            wait([], 0.05)
        plane.jobs.put("after", {})
        acknowledged = {name for name, error in errors.items() if error is None}
        assert {"first", "after"} | acknowledged <= {job.name for job in plane.jobs.list()}
