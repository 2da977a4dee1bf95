"""When a leader composes its next entry. Values in, values out; no clock, no queue.

An entry costs the same whatever is in it: a message to each follower and a sync on each disk. So
writes that come close together share one ("group commit"). What comes while an entry is under way
waits for its commit, and callers that were just answered get a moment to come back. Together these
waits end two milliseconds after a write was first seen, and none delays a write that comes alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

UNDER_WAY_S: Final = 0.001  # so long a write waits for the commit of the entry before its own
RETURN_S: Final = 0.001  # so long callers that were answered may take to write again
ENOUGH: Final = 32  # more would save little, and the wait for them would leave the disks idle
REST_S: Final = 0.1  # callers that did not come back in time are not waited for again so soon


class Hold(NamedTuple):
    """The writes that wait shall wait until then, or until there are `enough`."""

    until_s: float
    enough: int


@dataclass(slots=True)
class Grouping:
    """The waits of one leadership. Seconds are monotonic, counts are of writes; an entry takes at
    most `most` of them, and so many are never held back."""

    most: int
    _expected: int = 0  # so many are there when all who were answered have come back
    _return_until_s: float = 0.0
    _rest_until_s: float = 0.0
    _since_s: float | None = None  # when the oldest write that waits was first seen

    def answered(self, now_s: float, callers: int, unsent: int) -> None:
        """So many callers in this process are told their outcome, while `unsent` writes wait."""
        if now_s >= self._rest_until_s:
            self._expected = min(unsent + callers, ENOUGH)
            self._return_until_s = now_s + RETURN_S

    def hold(self, now_s: float, unsent: int, *, under_way: bool) -> Hold | None:
        """Looks what `unsent` writes wait for; None: they shall leave now. `under_way`: an entry
        was sent and is not committed. None at all are held too while callers may come back."""
        if unsent and self._since_s is None:
            self._since_s = now_s
        since_s = math.inf if self._since_s is None else self._since_s
        if unsent < self._expected:
            until_s = min(self._return_until_s, since_s + UNDER_WAY_S + RETURN_S)
            if now_s < until_s:
                return Hold(until_s, self._expected)
            self._expected = 0
            if now_s >= self._return_until_s:
                self._rest_until_s = now_s + REST_S
        if under_way and 0 < unsent < self.most and now_s < since_s + UNDER_WAY_S:
            return Hold(since_s + UNDER_WAY_S, self.most)
        return None

    def left(self) -> None:
        """The writes that waited are in an entry."""
        self._expected, self._since_s = 0, None
