"""What a person sees: titles, commands as one would type them, and how long things took."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class StoryFailed(Exception):
    """Something in the story is not as it should be."""


def _paint(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text: str) -> None:
    """Begins a chapter."""
    print(f"\n{_paint(text, '1;36')}", flush=True)


def say(text: str) -> None:
    """One line of the story."""
    print(f"  {text}", flush=True)


def typed(text: str) -> None:
    """A command line as a person would type it."""
    print(f"  {_paint('$', '2')} {_paint(text, '1')}", flush=True)


def short(path: Path) -> str:
    """A path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


class Stopwatch:
    """Remembers how long each step took, for the table at the end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures the block and prints its time."""
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        self.rows.append((name, took))
        say(_paint(f"({name}: {took:.1f} s)", "2"))

    def table(self) -> None:
        """All steps and their times."""
        for name, took in self.rows:
            say(f"{name:<58} {took:6.1f} s")


def run(
    program: Path,
    words: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    stdin: str | None = None,
    shown: str | None = None,
    last_line_only: bool = False,
) -> None:
    """Shows a command, runs it, and shows what it prints. StoryFailed when it fails.

    `shown` is what to show instead, when the input comes from another command.
    """
    typed(shown or shlex.join([program.name, *map(_word, words)]))
    done = subprocess.run(
        [program, *words],
        env={**os.environ, **environment},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    for line in lines[-1:] if last_line_only and not done.returncode else lines:
        print(f"    {line}", flush=True)
    if done.returncode:
        what = " ".join(map(_word, words[:2]))
        raise StoryFailed(f"{program.name} {what} ended with exit code {done.returncode}")


def _word(word: str | Path) -> str:
    return short(word) if isinstance(word, Path) else word
