"""Time as something that is handed in, so that tests and the simulator own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that only goes forward, one that people read."""

    def monotonic_s(self) -> float:
        """Seconds since some start; never goes back."""
        ...

    def time_ms(self) -> int:
        """Milliseconds since 1970 in UTC; may jump."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000


def rfc3339(time_ms: int) -> str:
    """The text form of a time in UTC with seconds, as in 2026-04-26T03:00:00Z (RFC 3339)."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
