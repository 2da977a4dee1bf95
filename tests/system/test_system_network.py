"""The main job on a machine without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

MAIN_JOB = Path(__file__).resolve().parents[2] / "scripts" / "main_job.py"


def test_the_main_job_needs_nothing_but_loopback(tmp_path: Path) -> None:
    """In a network namespace with nothing but loopback the whole story comes out right."""
    story = [sys.executable, str(MAIN_JOB), "--once", "--folder", str(tmp_path / "job")]
    script = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--net", "sh", "-ec", script, "sh", *story]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rows are as before") == 6
