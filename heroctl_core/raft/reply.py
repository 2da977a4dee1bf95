"""The outcome of one write, for the one thread that waits for it.

A future serves callbacks and many waiters by a condition, which costs a blocking write a tenth of
its CPU, most of it where all writers wait in line for the interpreter. This is a single lock.
"""

from __future__ import annotations

import threading
from concurrent.futures import InvalidStateError
from typing import Final, Protocol, TypeVar

from ..state.outcome import Outcome

_ENDING: Final = threading.Lock()  # held for a moment: two threads may end a write at once


class Answerable(Protocol):
    """Where the outcome of a write goes: a Reply or a Future[Outcome]. Only its first end counts,
    every other one is an InvalidStateError."""

    def done(self) -> bool: ...
    def set_result(self, result: Outcome, /) -> None: ...
    def set_exception(self, exception: BaseException | None, /) -> None: ...


AnyReply = TypeVar("AnyReply", bound=Answerable)


class Reply:
    """`result` is for one thread and one call, the rest for any."""

    __slots__ = ("_end", "_gate")

    def __init__(self) -> None:
        self._end: Outcome | BaseException | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._end is not None

    def set_result(self, result: Outcome) -> None:
        """The command was applied."""
        self._finish(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """It was not, or nobody knows; never None, which only a Future's signature allows."""
        assert exception is not None
        self._finish(exception)

    def _finish(self, end: Outcome | BaseException) -> None:
        with _ENDING:
            if self._end is not None:
                raise InvalidStateError("this write has ended already")
            self._end = end
        self._gate.release()

    def result(self, timeout_s: float) -> Outcome:
        """The outcome, or its failure; TimeoutError when there is none in time."""
        if not self._gate.acquire(timeout=timeout_s):
            raise TimeoutError(f"no outcome within {timeout_s:g} s")
        end = self._end
        assert end is not None
        if isinstance(end, BaseException):
            raise end
        return end
