"""The main job with real processes, as `scripts/run --once` shows it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MAIN_JOB = Path(__file__).resolve().parents[2] / "scripts" / "main_job.py"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the story printed; it must have ended with 0."""
    folder = tmp_path_factory.mktemp("main") / "job"
    command = [sys.executable, MAIN_JOB, "--once", "--folder", folder]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            told, _ = process.communicate(timeout=110)
        finally:
            process.terminate()  # it stops its nodes; nothing when it has ended
    assert process.returncode == 0, told
    return told


def test_the_save_prints_what_the_guide_promises(story: str) -> None:
    """The three literal lines, with the counts of the example catalogue."""
    assert re.search(r"^ +snapshot saved: \d+\.\d (kB|MB)$", story, re.MULTILINE)
    assert "included: 47 jobs, 23 secrets, 12 acl rules, 4 nodes\n" in story
    assert re.search(r"^ +duration: \d+\.\ds$", story, re.MULTILINE)


def test_everything_is_as_before_on_every_node_after_both_restores(story: str) -> None:
    """Six comparisons, each over all rows: 47 + 23 + 6 + 5 + 9 + 4 + 12."""
    assert re.findall(r"(node-\d): all 106 rows are as before", story) == [
        *("node-1", "node-2", "node-3"),
        *("node-1", "node-2", "node-3"),
    ]
    assert "12 metric series with 120,960 samples" in story


def test_the_times_are_printed(story: str) -> None:
    """The table at the end has a time for each step of both restores."""
    table = story.split("How long it took")[1]
    for step in ("snapshot save", "worst day: restore", "ordinary restore: restore"):
        assert re.search(rf"{re.escape(step)}.* \d+\.\d s$", table, re.MULTILINE), step


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    """Interrupted in the middle, the story ends with 130 and takes its nodes with it."""
    folder = tmp_path / "job"
    command = [sys.executable, "-u", MAIN_JOB, "--folder", folder]

    def listen() -> None:  # whoever runs us in the background may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "heroctl apply" in line:
                break
        assert len(running_in(folder)) == 3
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert running_in(folder) == []


def running_in(folder: Path) -> list[str]:
    """The command lines of the servers whose configuration is in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue  # it ended while we looked
        if "server" in words and any(word.startswith(str(folder)) for word in words):
            found.append(" ".join(words))
    return found
