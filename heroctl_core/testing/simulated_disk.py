"""A node's disk in the simulator: a log that loses what was not synced, and dumps in memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ..raft.install import Loaded, LoadFailed
from ..raft.membership import Configuration
from ..raft.records import DumpRef
from ..state.machine import DumpState, StateMachine
from .memory_log import MemoryLog


class PowerCut(Exception):
    """The node crashes here; what was not synced is gone."""


class SimulatedLog(MemoryLog):
    """A memory log whose syncs may be cut short. `cut()` says when; before or after is random."""

    cut: Callable[[], bool] = staticmethod(lambda: False)

    @classmethod
    def of(cls, log: MemoryLog) -> SimulatedLog:
        """The same log, with power cuts."""
        log.__class__ = cls
        return log  # type: ignore[return-value]

    def sync(self) -> None:
        if self.dirty and self.cut():
            raise PowerCut
        super().sync()
        if self.cut():
            raise PowerCut


@dataclass(slots=True)
class _Stored:
    configuration: Configuration
    state: DumpState


@dataclass(slots=True)
class DumpDisk:
    """What survives a crash: finished dumps by name."""

    stored: dict[str, _Stored] = field(default_factory=dict)


class _Bytes:
    """A dump travels as its name, padded to a few chunks, so that transfers can be interrupted."""

    size = 1_000_000

    def __init__(self, stored: _Stored) -> None:
        self.stored = stored

    def read(self, offset: int, length: int) -> bytes:
        return bytes(min(length, self.size - offset))

    def close(self) -> None:
        """Nothing to do."""


class _Sink:
    def __init__(self) -> None:
        self.received = 0

    def write(self, data: bytes) -> None:
        self.received += len(data)

    def abort(self) -> None:
        self.received = 0


class SimulatedDumps:
    """Dumps that take a few turns to write and to load. `sent` holds every dump that was ever
    written: the bytes on the wire stand for what is there."""

    def __init__(self, disk: DumpDisk, rng: random.Random, sent: dict[str, _Stored]) -> None:
        self._disk = disk
        self._rng = rng
        self._sent = sent
        self._writing: tuple[int, DumpRef, _Stored] | None = None
        self._loading: tuple[int, DumpRef] | None = None

    def begin(
        self, index: int, term: int, configuration: Configuration, machine: StateMachine
    ) -> None:
        state = machine.dump()
        sha256 = hashlib.sha256(f"{index}-{term}-{state.view.revision}".encode()).hexdigest()
        ref = DumpRef(index, term, sha256, f"{index}-{term}.dump")
        self._writing = (self._rng.randint(1, 10), ref, _Stored(configuration, state))

    @property
    def busy(self) -> bool:
        return self._writing is not None

    def poll_written(self) -> DumpRef | None:
        if self._writing is None:
            return None
        turns, ref, stored = self._writing
        if turns > 0:
            self._writing = (turns - 1, ref, stored)
            return None
        self._disk.stored[ref.name] = self._sent[ref.name] = stored
        self._writing = None
        return ref

    def source(self, ref: DumpRef) -> _Bytes:
        return _Bytes(self._disk.stored[ref.name])

    def sink(self, ref: DumpRef, size: int) -> _Sink:
        return _Sink()

    def load(self, ref: DumpRef, sink: object) -> None:
        self._loading = (self._rng.randint(0, 5), ref)

    def poll_loaded(self) -> Loaded | LoadFailed | None:
        if self._loading is None:
            return None
        turns, ref = self._loading
        if turns > 0:
            self._loading = (turns - 1, ref)
            return None
        self._loading = None
        if self._rng.random() < 0.1:
            return LoadFailed("damaged on the way")
        stored = self._disk.stored[ref.name] = self._sent[ref.name]
        return Loaded(ref, stored.configuration, machine_of(stored.state))

    def forget_but(self, ref: DumpRef) -> None:
        for name in [n for n in self._disk.stored if n != ref.name]:
            del self._disk.stored[name]


def machine_of(state: DumpState) -> StateMachine:
    """A machine with the content of a dump."""
    machine, view = StateMachine(), state.view
    machine.load_dump(
        view.rows(),
        state.request_bytes(),
        revision=view.revision,
        epoch=view.epoch,
        time_ms=view.time_ms,
    )
    return machine
