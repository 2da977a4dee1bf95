"""Errors that the kernel reports: injected below Python, into the real system calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl_core.raft.log import Log

pytestmark = pytest.mark.system

EIO = 5
# One line of input makes one step; each step answers with one line.
PROGRAM = """
import sys
from heroctl_core.errors import FileFault, LogFault
from heroctl_core.files import write_atomic
from heroctl_core.raft.log import Log

log = Log.create(sys.argv[1])
index = 1
for line in sys.stdin:
    try:
        if line == "file\\n":
            write_atomic(sys.argv[1] + ".file", b"new")
        else:
            index += 1
            log.append(b"x", index, 1)
            log.sync()
        print("ok", flush=True)
    except (FileFault, LogFault) as error:
        print(type(error).__name__, error, flush=True)
"""


class Steps:
    """The program in a process of its own, whose system calls can be made to fail."""

    def __init__(self, folder: Path, control: Path) -> None:
        self._control = control
        command = ["fiu-run", "-x", "-f", control, sys.executable, "-c", PROGRAM, folder]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self, what: str) -> str:
        """The program's answer to one step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def inject(self, verb: str, call: str) -> None:
        """Makes a system call fail with EIO (`enable`), or work again (`disable`)."""
        order = f"{verb} name=posix/io/sync/{call}"
        if verb == "enable":
            order += f",failinfo={EIO}"
        pid = str(self.process.pid)
        subprocess.run(["fiu-ctrl", "-f", self._control, "-c", order, pid], check=True)


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    """The running program on an empty folder."""
    running = Steps(tmp_path / "log", tmp_path / "control")
    yield running
    running.process.communicate(timeout=10)


def test_a_failed_sync_is_final(steps: Steps, tmp_path: Path) -> None:
    """After one failed fdatasync the log refuses everything, even when the disk works again."""
    assert steps.step("entry") == "ok"
    steps.inject("enable", "fdatasync")
    assert steps.step("entry").startswith("LogFault")
    steps.inject("disable", "fdatasync")
    answer = steps.step("entry")
    assert answer.startswith("LogFault")
    assert "input/output error" in answer.lower()
    steps.process.kill()
    steps.process.wait()
    log = Log.open(tmp_path / "log")
    assert log.last_index >= 2  # what was acknowledged
    log.close()


def test_a_file_whose_fsync_fails_does_not_appear(steps: Steps, tmp_path: Path) -> None:
    """The old file stays, the error names the file, nothing partial is left; later it works."""
    assert steps.step("file") == "ok"
    target = tmp_path / "log.file"
    target.write_bytes(b"old")
    steps.inject("enable", "fsync")
    answer = steps.step("file")
    assert answer.startswith("FileFault")
    assert str(target) in answer
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "log.file.partial").exists()
    steps.inject("disable", "fsync")
    assert steps.step("file") == "ok"
    assert target.read_bytes() == b"new"
