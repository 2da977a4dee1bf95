"""A few rounds of scripts/torture, and that it can fail."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from heroctl_core.errors import Damaged
from heroctl_core.raft.disk import Disk
from heroctl_core.raft.log_scan import _Reader
from heroctl_core.testing import torture


def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Wherever the writer is."""
    seen = torture.kill_rounds(tmp_path, 2, random.Random(5))
    assert seen["kills"] == 2


def test_failing_calls_lose_nothing(tmp_path: Path) -> None:
    """Every 14th call that writes or syncs, with EIO, without space once, and from then on."""
    seen = torture.fail_calls(tmp_path, start=4, step=14)
    assert min(seen.values()) >= 5


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Flipped bits and cut files in log and dump: never less than was acknowledged, in silence."""
    seen = torture.damage(tmp_path, 25, random.Random(7))
    assert seen["refused"] > 25


def test_a_log_that_passes_over_failed_writes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it acknowledged is not there afterwards, or its log has a hole."""

    def write(_disk: Disk, fd: int, data: bytes, offset: int) -> None:
        try:
            os.pwrite(fd, data, offset)
        except OSError:
            pass

    monkeypatch.setattr(Disk, "write", write)
    with pytest.raises((AssertionError, Damaged)):
        torture.fail_calls(tmp_path, start=41, step=9)


def test_damage_that_is_taken_for_the_end_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLite's log does: what follows an invalid frame is cut off."""
    monkeypatch.setattr(_Reader, "_check_tail", lambda *_, **__: 0)
    with pytest.raises(AssertionError, match="lost in silence"):
        torture.damage(tmp_path, 25, random.Random(7))
