"""The state's time: what a leader gives its entries, and what every node takes it to be.

Pure. A leader's clock counts within bounds that no jump can leave: they would move the state's time
for good, for that never goes back. Tokens would expire and retries be refused until true time has
caught up. Nor may it stand still until then: what is old could not be told from what is new.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import limits


@dataclass(slots=True)
class EntryTime:
    """One leadership. Its first entry takes the clock as it is: nobody knows better.

    Later ones move with the steady clock, and `slack_ms` beyond. What was taken of the slack comes
    back with time, so a machine that slept finds its way to the true time, at double speed. One
    whose clock is behind the state lets time go on at half speed until the two are level.
    """

    at_s: float | None = None  # steady clock, up to where it has been counted
    time_ms: int = 0  # of the last entry
    slack_ms: int = limits.LEADER_TIME_SLACK_MS

    def next_ms(self, clock_ms: int, steady_s: float, state_ms: int) -> int:
        """The time of the next entry; never before `state_ms`."""
        if self.at_s is None:
            self.at_s, self.time_ms = steady_s, max(clock_ms, state_ms)
        else:
            elapsed_ms = 2 * int((steady_s - self.at_s) * 500)
            self.at_s += elapsed_ms / 1000  # what is less than two milliseconds counts next time
            self.slack_ms = min(limits.LEADER_TIME_SLACK_MS, self.slack_ms + elapsed_ms)
            steady_ms = self.time_ms + elapsed_ms
            slow_ms = self.time_ms + elapsed_ms // 2
            self.time_ms = max(min(clock_ms, steady_ms + self.slack_ms), slow_ms, state_ms)
            self.slack_ms -= min(self.slack_ms, max(0, self.time_ms - steady_ms))
        return self.time_ms


class StateTime:
    """What one node takes the state's time to be between entries: its own clock may be wrong. For
    any thread."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = (0, 0, 0.0)  # term, time of its newest entry that was applied, steady clock

    def applied(self, term: int, time_ms: int, steady_s: float) -> None:
        """An entry of `term` with that time was applied."""
        self._seen = (term, time_ms, steady_s)

    def now_ms(self, term: int, steady_s: float) -> int | None:
        """The time now, None before an entry of the present term was applied. It is behind by as
        much as this node's log is."""
        seen_term, time_ms, seen_s = self._seen
        return time_ms + int((steady_s - seen_s) * 1000) if seen_term == term else None
