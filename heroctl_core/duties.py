"""What the leader does on its own: so far, forgetting metric samples older than seven days.

Expiry is a command like any other: the machine never looks at a clock.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from .catalogue.metrics import Metrics, window_start_ms
from .clock import Clock
from .errors import HeroctlError
from .raft.port import Replicator
from .state.metrics import BLOCK_MS

_EVERY_S: Final = 60.0

log = logging.getLogger("heroctl.duties")


class Duties:
    """A thread that looks once a minute; it proposes only on the leader, and only when a whole
    block of samples has left the window."""

    def __init__(self, replicator: Replicator, metrics: Metrics, clock: Clock) -> None:
        self._replicator = replicator
        self._metrics = metrics
        self._clock = clock
        self._expired_ms = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heroctl-duties", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns when nothing is proposed any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """One look: proposes what is due."""
        before_ms = window_start_ms(self._clock.time_ms()) // BLOCK_MS * BLOCK_MS
        if before_ms <= self._expired_ms or self._replicator.status().role != "leader":
            return
        if self._replicator.machine.count("metrics"):
            self._metrics.expire(before_ms)
        self._expired_ms = before_ms

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            try:
                self.look()
            except HeroctlError as error:  # the next look tries again
                log.warning("metrics were not expired: %s", error)
