"""How old a stale read may be: what was committed when, and is shown here. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class _Told(NamedTuple):
    term: int
    commit_index: int
    at_s: float


@dataclass(slots=True)
class Freshness:
    """The last moment of which this node shows everything that was committed then, as far as its
    leader knew. Seconds are monotonic.

    Hearing a leader is not enough: who comes back after an hour hears it long before it has the
    entries of that hour, or the snapshot in place of them.
    """

    shown_s: float = -math.inf
    _told: _Told | None = None  # what is still to be applied

    def told(self, term: int, commit_index: int, now_s: float) -> None:
        """The leader of `term` said that everything up to `commit_index` is committed."""
        if self._told is None:  # one at a time: under load the next one is always further on
            self._told = _Told(term, commit_index, now_s)

    def applied(self, index: int, term: int) -> None:
        """The machine here shows everything up to `index`, an entry of `term`. Before an entry of
        its own term is committed, a leader does not know how much of the earlier ones is."""
        told = self._told
        if told is not None and index >= told.commit_index and term >= told.term:
            self.shown_s, self._told = told.at_s, None

    def led(self, now_s: float) -> None:
        """This node leads, knows what is committed, and a majority answers it."""
        self.shown_s = now_s
