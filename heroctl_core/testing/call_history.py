"""What the clients of real nodes were told, and whether all of it can be true.

Filled by many threads while faults happen; judged in between and at the end. Two kinds of keys:
contended ones, whose history must be linearizable, and kept ones, each written once, which must be
there at the end when they were acknowledged and must not when they were certainly not applied.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from .linearizability import Kind, Operation, State, is_linearizable

CALL_S: Final = 5.0  # the deadline of a call in the engine
SLACK_S: Final = 4.0  # for HTTP, and for a machine that has much else to do


@dataclass(slots=True)
class CallHistory:
    """Everything that was answered. `violations` are the promises that were broken."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    acknowledged_s: list[float] = field(default_factory=list)  # moments, in order
    kept: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    served_s: dict[str, float] = field(default_factory=dict)  # node: start of its newest write
    _operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    _revisions: dict[int, str] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, node: str, started_s: float, key: str, revision: int, *, once: bool) -> None:
        """A write was acknowledged; `once`: to a key that nothing else writes."""
        with self._lock:
            self.counts["writes acknowledged"] += 1
            self.acknowledged_s.append(time.monotonic())
            self.served_s[node] = max(started_s, self.served_s.get(node, 0.0))
            if once:
                self.kept.add(key)
            if (other := self._revisions.setdefault(revision, key)) != key:
                self.broken(f"revision {revision} was told for {key} and for {other}")

    def saw(self, key: str, operation: Operation) -> None:
        """One operation on a contended key has ended, or never will."""
        with self._lock:
            self._operations[key].append(operation)

    def count(self, what: str) -> None:
        """One more of something that the report shows."""
        with self._lock:
            self.counts[what] += 1

    def broken(self, what: str) -> None:
        """A promise was broken."""
        self.violations.append(what)

    def longest_silence_s(self, began_s: float) -> float:
        """The longest time since `began_s` in which no write was acknowledged to anybody."""
        moments = self.acknowledged_s
        moments = [began_s, *moments[bisect(moments, began_s) :]]
        return max((b - a for a, b in pairwise(moments)), default=0.0)

    def judge(self, keys: Iterable[str], final: dict[str, State] | None = None) -> int:
        """Checks what was seen of contended keys; how many of them cannot be explained. With
        `final`, what every later read gives must fit too."""
        bad = 0
        for key in keys:
            with self._lock:
                seen = list(self._operations[key])
            if final is not None:
                now = time.monotonic()
                seen.append(Operation(Kind.READ, final.get(key), now, now))
            if not is_linearizable(seen):
                bad += 1
                self._bad.add(key)
                self.broken(f"what clients saw of {key} is not linearizable")
        return bad

    def contended(self) -> list[str]:
        """The contended keys so far."""
        with self._lock:
            return sorted(self._operations)

    def missing(self, node: str, found: set[str]) -> int:
        """How many acknowledged writes a node lacks that shows the keys `found`."""
        lost = self.kept - found
        if lost:
            self.broken(f"{node} lost {len(lost)} acknowledged writes, as {min(lost)}")
        for key in sorted(self.refused & found):
            self.broken(f"{node} has {key}, whose writer was told that it was not applied")
        return len(lost)

    def unexplained(self) -> str:
        """Every operation on the keys that cannot be explained, in the order of their starts."""
        with self._lock:
            seen = {key: self._operations[key] for key in sorted(self._bad)}
        lines = []
        for key, operations in seen.items():
            ordered = sorted(operations, key=lambda operation: operation.started)
            lines += [key, *(f"  {operation}" for operation in ordered)]
        return "\n".join(lines)


def unknown(kind: Kind, value: State, started_s: float) -> Operation:
    """A write that may have happened at any time since, or never."""
    return Operation(kind, value, started_s, math.inf, None)
