"""The command line in this process, against a served node without disk."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heroctl_cli.main import run
from heroctl_core.testing.memory_node import ServedNode, serve


@dataclass(frozen=True)
class Done:
    """A command line that was run."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the developer's shell says must not reach a test."""
    for name in [name for name in os.environ if name.startswith("HEROCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEROCTL_DATA_DIR", str(tmp_path / "no-node-here"))


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `heroctl WORDS...`; `stdin` is what it reads, without a terminal."""

    def call(*words: object, stdin: str | bytes = "") -> Done:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
        capfd.readouterr()
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedNode]:
    """A served node that the command line finds by its socket."""
    folder = tmp_path / "node"
    folder.mkdir()
    with serve(folder) as node:
        monkeypatch.setenv("HEROCTL_DATA_DIR", str(folder))
        yield node


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes a file below the test's folder."""

    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return file
