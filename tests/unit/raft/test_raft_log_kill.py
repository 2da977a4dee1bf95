"""The log under SIGKILL: what a process said to be durable is there afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import heroctl_core
from heroctl_core.raft.log import Log

WRITER = Path(__file__).with_name("log_writer.py")
ROUNDS = 20


def data_of(index: int) -> bytes:
    return random.Random(index).randbytes(index * 37 % 3000)


def run_and_kill(folder: Path, seed: int, lines: int) -> list[list[str]]:
    """What the writer said before it was killed after about `lines` lines."""
    source = str(Path(heroctl_core.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.timeout(90)
def test_sigkill_under_load(tmp_path: Path) -> None:
    """Twenty times: kill the writer anywhere; every entry that it reported as synced is there with
    its content, the term has not gone back, and the next process goes on from there."""
    chance = random.Random(4)
    folder = tmp_path / "log"
    Log.create(folder, segment_bytes=256 * 1024).close()
    for seed in range(1, ROUNDS + 1):
        said = run_and_kill(folder, seed, chance.randint(1, 150))
        assert said
        log = Log.open(folder, segment_bytes=256 * 1024)
        for what, index, term in said:
            assert int(index) <= log.last_index, said[-1]
            assert int(term) <= log.term
            if what == "compacted":
                assert log.dump is not None
                assert log.dump.index >= int(index)
        assert log.vote == f"{seed:032x}"
        for data, at, _ in log.entries[1:]:
            assert data == data_of(at)
        assert log.commit_index <= log.last_index
        log.close()
    assert log.last_index > 2000
