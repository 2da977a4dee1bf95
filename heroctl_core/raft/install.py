"""Snapshot transfer to a follower that is behind the log's start.

pysyncobj's own transfer has no id, no offset and no check (row 5 of docs/engine.md), so dumps
travel in frames of ours: `inst` carries a chunk with the dump's whole identity, `insta` says how
many bytes have arrived. The receiver verifies and decodes the dump beside the loop; only then is
the log replaced, and only when that is durable the leader is answered. A failure is never answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .. import limits
from ..clock import Clock
from .membership import Configuration
from .records import DumpRef

_WINDOW_CHUNKS: Final = 4
_RESEND_S: Final = 1.0
_KEPT_S: Final = 60.0  # how long half a transfer waits for a connection that broke


class DumpSource(Protocol):
    """A dump that is being sent."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...
    def close(self) -> None: ...


class DumpSink(Protocol):
    """A dump that is being received."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified dump, decoded: the configuration at its index and a machine with its content."""

    ref: DumpRef
    configuration: Configuration
    machine: Any


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A received dump that cannot be used; nothing was changed."""

    reason: str


class Dumps(Protocol):
    """Where dumps are kept. Long work happens beside the loop; `poll_*` never blocks."""

    def begin(self, index: int, term: int, configuration: Configuration, machine: Any) -> None:
        """Starts writing a dump of the machine as it is now."""

    def poll_written(self) -> DumpRef | None:
        """The dump that `begin` asked for, once it is durable and verified."""
        ...

    @property
    def busy(self) -> bool: ...

    @property
    def write_error(self) -> str | None:
        """Why the newest dump could not be written; the log grows meanwhile."""
        ...

    def source(self, ref: DumpRef) -> DumpSource: ...
    def sink(self, ref: DumpRef, size: int) -> DumpSink: ...

    def load(self, ref: DumpRef, sink: DumpSink) -> None:
        """Starts verifying and decoding what was received."""

    def poll_loaded(self) -> Loaded | LoadFailed | None: ...

    def forget_but(self, ref: DumpRef) -> None:
        """Removes older dumps."""

    def close(self) -> None:
        """Ends the work under way; it counts for nothing."""


@dataclass(slots=True)
class _Sending:
    ref: DumpRef
    source: DumpSource
    sent: int = 0
    acknowledged: int = 0
    last_s: float = 0.0
    is_away: bool = False


class Sender:
    """Sends the current dump to the followers that need it."""

    def __init__(
        self, dumps: Dumps, clock: Clock, send: Callable[[str, list[object]], None]
    ) -> None:
        self._dumps = dumps
        self._clock = clock
        self._send = send
        self._sending: dict[str, _Sending] = {}

    def work(self, members: set[str], ref: DumpRef | None, term: int) -> None:
        """Sends what the windows allow. A transfer to somebody who is not among `members` any more
        is kept for a while: when the connection is back, it goes on where it was."""
        if not members and not self._sending:
            return
        now = self._clock.monotonic_s()
        for gone in sorted(set(self._sending) - members):
            half = self._sending[gone]
            half.sent, half.is_away = half.acknowledged, True
            if half.acknowledged == half.source.size or now - half.last_s > _KEPT_S:
                self._sending.pop(gone).source.close()
        if ref is None:
            return
        for member_id in sorted(members):
            state = self._sending.get(member_id)
            if state is None:
                state = _Sending(ref, self._dumps.source(ref), last_s=now)
                self._sending[member_id] = state
            elif state.is_away:
                state.last_s, state.is_away = now, False
            elif now - state.last_s > _RESEND_S:
                # It arrived, but was of no use; or the follower has as much already and does not
                # take it, while the log now begins behind it.
                if state.acknowledged == state.source.size or state.ref != ref:
                    state.source.close()
                    state = self._sending[member_id] = _Sending(ref, self._dumps.source(ref))
                state.sent, state.last_s = state.acknowledged, now
            self._fill_window(member_id, state, term)

    def _fill_window(self, member_id: str, state: _Sending, term: int) -> None:
        window_end = state.acknowledged + _WINDOW_CHUNKS * limits.DUMP_CHUNK_BYTES
        while state.sent < min(state.source.size, window_end):
            chunk = state.source.read(state.sent, limits.DUMP_CHUNK_BYTES)
            ref = state.ref
            identity = [ref.index, ref.term, ref.sha256, ref.name, state.source.size]
            self._send(member_id, ["inst", term, identity, state.sent, chunk])
            state.sent += len(chunk)

    def acknowledged(self, member_id: str, sha256: str, offset: int) -> None:
        """The follower holds everything up to `offset`."""
        state = self._sending.get(member_id)
        if state and state.ref.sha256 == sha256 and 0 <= offset <= state.source.size:
            if offset > state.sent or offset < state.acknowledged:
                state.sent = offset  # it has more, or lost some: go on from there
            state.acknowledged = offset
            state.last_s = self._clock.monotonic_s()

    def stop(self) -> None:
        """Ends all transfers."""
        for state in self._sending.values():
            state.source.close()
        self._sending.clear()


class Receiver:
    """Collects one dump at a time from a leader."""

    def __init__(self, dumps: Dumps) -> None:
        self._dumps = dumps
        self._ref: DumpRef | None = None
        self._sink: DumpSink | None = None
        self._size = 0
        self._offset = 0
        self.loading_for: str | None = None  # the leader that waits for the answer

    def receive(self, sender: str, identity: list[Any], offset: int, data: bytes) -> int:
        """Takes one chunk; the offset up to which the dump is here now."""
        index, term, sha256, name, size = identity
        ref = DumpRef(index, term, sha256, name)
        if self.loading_for is not None:
            return self._offset
        if ref != self._ref:
            if offset != 0:
                return 0
            self.abandon()
            self._ref, self._size, self._offset = ref, size, 0
            self._sink = self._dumps.sink(ref, size)
        if offset == self._offset and self._sink is not None:
            if offset + len(data) > size:
                self.abandon()
                raise ValueError("a dump longer than it said")
            self._sink.write(data)
            self._offset += len(data)
            if self._offset == size:
                self.loading_for = sender
                self._dumps.load(ref, self._sink)
        return self._offset

    def finished(self) -> None:
        """The loaded dump was taken or refused."""
        self._ref, self._sink, self.loading_for, self._offset = None, None, None, 0

    def abandon(self) -> None:
        if self._sink is not None and self.loading_for is None:
            self._sink.abort()
            self._ref, self._sink, self._offset = None, None, 0
