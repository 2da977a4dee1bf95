"""Wall clocks of real processes that can be set while they run: a library that gcc builds here."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("skewed_clock.c")


class SkewedClocks:
    """One clock for each name; the steady clocks are left alone."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Builds the library in `folder`; CalledProcessError or FileNotFoundError without gcc."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._library = folder / "skewed_clock.so"
        command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]
        subprocess.run([*command, self._library, _SOURCE, "-ldl"], check=True)
        for name in names:
            self.set(name, 0.0)

    def env(self, name: str) -> dict[str, str]:
        """What a process needs in its environment to have the clock of that name."""
        skew = self._folder / name
        return {"LD_PRELOAD": str(self._library), "HEROCTL_CLOCK_SKEW": str(skew)}

    def set(self, name: str, seconds: float) -> None:
        """That clock is off by `seconds` from now on."""
        path = self._folder / name
        path.touch()
        with path.open("r+b") as file:  # in place: processes have it mapped
            file.write(struct.pack("=q", round(seconds * 1e9)))
