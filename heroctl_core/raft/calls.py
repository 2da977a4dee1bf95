"""What other threads want to have run on the engine's thread, each with a future that always ends.

In a fork no engine's thread runs: every call there is refused (`refuse_fork`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import HeroctlError, UsageError

T = TypeVar("T")


class Calls:
    """The queue of one engine. Any thread; `run` only the engine's."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._ended: Callable[[], HeroctlError] | None = None
        self._pid = os.getpid()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """The future of `function`, run as soon as possible."""
        self.refuse_fork()
        future: Future[T] = Future()
        self._waiting.append((function, future))
        if self._ended is not None:  # looked at after the append: `end` cannot have missed it
            self.end(self._ended)
        self._wake()
        return future

    def run(self) -> None:
        """Runs what waits."""
        while self._waiting:
            function, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # noqa: BLE001 – it belongs to who waits for the future
                    future.set_exception(error)

    def end(self, error: Callable[[], HeroctlError]) -> None:
        """Fails what waits and all that comes: nothing runs any more."""
        self._ended = error
        while self._waiting:
            try:
                _, future = self._waiting.popleft()
            except IndexError:  # another thread does the same
                return
            if future.set_running_or_notify_cancel():
                future.set_exception(error())

    def refuse_fork(self) -> None:
        """UsageError in a fork of the process that has the engine."""
        if os.getpid() != self._pid:
            raise UsageError(
                f"this control plane belongs to process {self._pid}, not to its fork {os.getpid()}",
                hint="open it after the fork, or ask the process that has it over its socket",
            )


def failed(error: HeroctlError) -> Future[Any]:
    """A future that has failed already."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
