"""A clock that only a test moves."""

from __future__ import annotations


class ManualClock:
    """Both clocks of clock.Clock, standing still until `advance` or `set_time_ms`."""

    def __init__(self, time_ms: int = 1_700_000_000_000) -> None:
        self._time_ms = time_ms
        self._monotonic_s = 0.0

    def monotonic_s(self) -> float:
        """Seconds since the clock was made, as far as it was advanced."""
        return self._monotonic_s

    def time_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._time_ms

    def advance(self, seconds: float) -> None:
        """Lets time go by, on both clocks."""
        self._monotonic_s += seconds
        self._time_ms += round(seconds * 1000)

    def set_time_ms(self, time_ms: int) -> None:
        """Sets the clock that people read, as an operator or NTP does; it may go back."""
        self._time_ms = time_ms
