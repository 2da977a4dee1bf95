"""When a node on a full disk tries its log again."""

from __future__ import annotations

from pathlib import Path

import pytest

from heroctl_core.errors import LogFull
from heroctl_core.raft import room
from heroctl_core.raft.room import Room


def test_the_log_may_try_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at once a second, and never while nothing is missing."""
    found = Room(tmp_path)
    assert not found.is_back(0.0)
    found.lost(LogFull("no space"), 10.0)
    monkeypatch.setattr(room, "_NEEDED_BYTES", 1 << 62)
    assert not found.is_back(11.0)
    monkeypatch.setattr(room, "_NEEDED_BYTES", 0)
    assert not found.is_back(11.9)
    assert found.is_back(12.0)
