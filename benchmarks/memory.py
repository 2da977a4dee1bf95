"""How much memory a process holds, as the kernel counts it; Linux only."""

from __future__ import annotations

from pathlib import Path


def resident_mb(pid: int | str = "self") -> float:
    """Megabytes (10^6) that are in memory now."""
    return _field(pid, "VmRSS")


def peak_mb(pid: int | str = "self") -> float:
    """The most megabytes since the start of the process, or since `reset_peak`."""
    return _field(pid, "VmHWM")


def reset_peak(pid: int | str = "self") -> None:
    """The peak counts anew from here (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _field(pid: int | str, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024 / 1e6
    raise LookupError(f"/proc/{pid}/status has no {name}")
