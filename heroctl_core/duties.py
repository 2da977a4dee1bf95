"""What a node does on its own now and then: it forgets metric samples older than seven days, when
it leads, and takes new certificates.

Expiry is a command like any other: the machine never looks at a clock.
"""

from __future__ import annotations

import logging
import threading

from .catalogue.metrics import Metrics, window_start_ms
from .clock import Clock
from .errors import HeroctlError
from .raft.credentials import LOOK_S, Credentials
from .raft.port import Replicator
from .state.metrics import BLOCK_MS

log = logging.getLogger("heroctl.duties")


class Duties:
    """A thread that looks every few seconds; it proposes only on the leader, and only when a whole
    block of samples has left the window."""

    def __init__(
        self,
        replicator: Replicator,
        metrics: Metrics,
        clock: Clock,
        credentials: Credentials | None = None,
    ) -> None:
        self._replicator = replicator
        self._metrics = metrics
        self._clock = clock
        self._credentials = credentials
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
        """One look: does what is due."""
        if self._credentials is not None:
            self._credentials.refresh()
        before_ms = window_start_ms(self._clock.time_ms()) // BLOCK_MS * BLOCK_MS
        if before_ms <= self._expired_ms or self._replicator.status().role != "leader":
            return
        if self._replicator.machine.count("metrics"):
            self._metrics.expire(before_ms)
        self._expired_ms = before_ms

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self.look()
            except HeroctlError as error:  # the next look tries again
                log.warning("metrics were not expired: %s", error)
