"""A node's disk in the simulator: a log that loses what was not synced, and dumps in memory.

Two kinds of log: one in memory, fast, and the real one on files whose unsynced pages may be torn.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ..errors import LogFault, LogFull
from ..limits import DUMP_CHUNK_BYTES
from ..raft.install import Loaded, LoadFailed
from ..raft.log import Log
from ..raft.log_state import LogState
from ..raft.membership import Configuration
from ..raft.records import DumpRef
from ..state.machine import DumpState, StateMachine
from .crash_disk import CrashDisk
from .memory_log import MemoryLog
from .simulated_machine import loaded

SEGMENT_BYTES: Final = 16 * 1024  # small, so that a run goes through many

Step = Callable[[str], None]  # told of each step of a disk; may raise PowerCut or OSError


class Storage(Protocol):
    """Where the log of one node lives, through all its lives. `Step` raises PowerCut, or OSError:
    no space for what is written or created, a failure of what is synced."""

    def open(self) -> LogState:
        """The log as the disk has it."""
        ...

    def lose_power(self, rng: random.Random) -> None:
        """Takes away what was not synced."""


class SteppedLog(MemoryLog):
    """A log in memory that tells of its steps, before and after each."""

    step: Step = staticmethod(lambda _: None)

    def sync(self) -> None:
        if self.dirty:
            self._write()
            super().sync()
            self.step("synced")

    def truncate_from(self, index: int) -> None:
        if index <= self.last_index:
            self.step("truncate")
        super().truncate_from(index)

    def install(self, dump: DumpRef) -> None:
        self._write()
        super().install(dump)
        self.step("installed")

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        self.step("compact")
        super().compact(dump, keep_from)
        self.step("compacted")

    def _write(self) -> None:
        try:
            self.step("write")
        except OSError as error:
            raise LogFull(f"no space for the log: {error}") from error
        try:
            self.step("sync_data")
        except OSError as error:
            raise LogFault(f"the log could not be synced: {error}") from error


class MemoryStorage:
    """A log in memory."""

    def __init__(self, step: Step, kind: type[SteppedLog] = SteppedLog) -> None:
        self._step = step
        self._log = kind.create()

    def open(self) -> MemoryLog:
        self._log.step = self._step
        return self._log

    def lose_power(self, rng: random.Random) -> None:
        self._log = self._log.crash(keep_unsynced=rng.random() < 0.2)


class _SteppedFileLog(Log):
    """The real log; its disk tells of every write, sync, creation and unlink."""

    step: Step = staticmethod(lambda _: None)

    def truncate_from(self, index: int) -> None:
        if index <= self.last_index:
            self.step("truncate")
        super().truncate_from(index)

    def install(self, dump: DumpRef) -> None:
        super().install(dump)
        self.step("installed")

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        super().compact(dump, keep_from)
        self.step("compacted")


class _SteppedDisk(CrashDisk):
    def __init__(self, step: Step) -> None:
        super().__init__()
        self._told = step

    def _step(self, what: str) -> None:
        super()._step(what)
        self._told(what)


class FileStorage:
    """The real log on real files in `folder`."""

    def __init__(self, folder: Path, step: Step) -> None:
        self._folder = folder
        self._step = step
        self._disk = CrashDisk()
        Log.create(folder, segment_bytes=SEGMENT_BYTES).close()

    def open(self) -> Log:
        self._disk = _SteppedDisk(self._step)
        log = _SteppedFileLog.open(self._folder, segment_bytes=SEGMENT_BYTES, disk=self._disk)
        log.step = self._step
        return log

    def lose_power(self, rng: random.Random) -> None:
        self._disk.power_cut(rng)


@dataclass(slots=True)
class _Stored:
    configuration: Configuration
    state: DumpState


@dataclass(slots=True)
class DumpDisk:
    """What survives a crash: finished dumps by name. Nothing can be written while it is full."""

    stored: dict[str, _Stored] = field(default_factory=dict)
    full: bool = False


class _Bytes:
    """A dump travels as its name, padded to a few chunks, so that transfers can be interrupted."""

    size = 4 * DUMP_CHUNK_BYTES - 1  # as many as are under way at a time

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

    def __init__(
        self,
        disk: DumpDisk,
        rng: random.Random,
        sent: dict[str, _Stored],
        new_machine: Callable[[], StateMachine] = StateMachine,
    ) -> None:
        self._disk = disk
        self._new_machine = new_machine
        self._rng = rng
        self._sent = sent
        self.write_error: str | None = None
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
        self._writing = None
        self.write_error = "no space for the dump" if self._disk.full else None
        if self._disk.full:
            return None
        self._disk.stored[ref.name] = self._sent[ref.name] = stored
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
        if self._disk.full or self._rng.random() < 0.1:
            return LoadFailed("damaged on the way, or no space")
        stored = self._disk.stored[ref.name] = self._sent[ref.name]
        return Loaded(ref, stored.configuration, loaded(self._new_machine(), stored.state))

    def close(self) -> None:
        """Nothing to end."""

    def forget_but(self, ref: DumpRef) -> None:
        for name in [n for n in self._disk.stored if n != ref.name]:
            del self._disk.stored[name]
