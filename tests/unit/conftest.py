"""What a power cut could undo, seen without cutting the power."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Names:
    """Folders in which a name was made, moved or dropped since they were synced: a power cut may
    undo that. `at_current` has one such set for each time that CURRENT was changed."""

    unsynced: set[Path] = field(default_factory=set)
    at_current: list[set[Path]] = field(default_factory=list)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Watches the real calls of this process from now on."""
    names = Names()

    def watched(call: Callable[..., object], *, touched: int) -> Callable[..., object]:
        def run(*args: str | Path, **more: object) -> object:
            paths = [Path(path).absolute() for path in args[:touched]]
            if paths[-1].name == "CURRENT":
                names.at_current.append(set(names.unsynced))
            done = call(*args, **more)
            names.unsynced.update(path.parent for path in paths)
            return done

        return run

    def fsync(fd: int, call: Callable[[int], None] = os.fsync) -> None:
        call(fd)
        names.unsynced.discard(Path(f"/proc/self/fd/{fd}").readlink())

    for name, touched in (("rename", 2), ("replace", 2), ("mkdir", 1), ("unlink", 1)):
        monkeypatch.setattr(os, name, watched(getattr(os, name), touched=touched))
    monkeypatch.setattr(os, "fsync", fsync)
    return names
