"""The times that one leader gives its entries: its clock, within bounds that no jump can leave.

Pure. Without bounds a clock that jumps would move the state's time for good, for that never goes
back: tokens would expire and retries be refused until true time has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import limits


@dataclass(slots=True)
class EntryTime:
    """One leadership. Its first entry takes the clock as it is: nobody knows better.

    Later ones move with the steady clock, and `slack_ms` beyond. What was taken of the slack comes
    back with time, so a machine that slept finds its way to the true time, at double speed.
    """

    at_s: float | None = None  # steady clock, up to where it has been counted
    time_ms: int = 0  # of the last entry
    slack_ms: int = limits.LEADER_TIME_SLACK_MS

    def next_ms(self, clock_ms: int, steady_s: float, state_ms: int) -> int:
        """The time of the next entry; never before `state_ms`."""
        if self.at_s is None:
            self.at_s, self.time_ms = steady_s, max(clock_ms, state_ms)
        else:
            elapsed_ms = int((steady_s - self.at_s) * 1000)
            self.at_s += elapsed_ms / 1000  # what is less than a millisecond counts next time
            self.slack_ms = min(limits.LEADER_TIME_SLACK_MS, self.slack_ms + elapsed_ms)
            steady_ms = self.time_ms + elapsed_ms
            self.time_ms = max(min(clock_ms, steady_ms + self.slack_ms), state_ms)
            self.slack_ms -= min(self.slack_ms, max(0, self.time_ms - steady_ms))
        return self.time_ms
