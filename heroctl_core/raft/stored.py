"""The state in the folder of a stopped generation: its newest dump and the log behind it.

Reads only: the folder may be the evidence of what went wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import codec
from ..errors import Damaged
from ..state.machine import StateMachine
from ..state.outcome import Stamp
from . import guard, membership
from .dump import load_dump
from .header import Header
from .log_scan import scan_log
from .membership import Configuration
from .replay import Entry


@dataclass(frozen=True, slots=True)
class StoredState:
    """A machine with everything up to `index`; `uncommitted` entries of the log are either in it
    or left out, as was asked. `last_index` and `last_term` are the log's."""

    machine: StateMachine
    configuration: Configuration
    index: int
    term: int
    last_index: int
    last_term: int
    uncommitted: int


def read_stored(folder: Path, header: Header, *, include_uncommitted: bool) -> StoredState:
    """The state of the generation in `folder`. LogFault, Damaged and the like as at a start.

    Whether the newest entries were committed is noted with a delay, except at a clean stop; where
    this node was the only voter every entry on its disk was.
    """
    replay = scan_log(folder / "log").replay
    entries = replay.entries()
    machine, configuration, applied = StateMachine(), header.members, entries[0][1]
    if replay.dump is not None:
        dump = load_dump(folder / "dumps", replay.dump, header.lineage, pause=_no_pause)
        machine, applied = dump.machine, replay.dump.index
        configuration = membership.decode(dump.header.configuration)
    configuration = _newest(configuration, entries, applied)
    last_index, last_term = entries[-1][1:]
    committed = min(max(replay.commit_index, applied), last_index)
    if len(configuration.voters) == 1:
        committed = last_index
    until = last_index if include_uncommitted else committed
    for data, index, _ in entries:
        if applied < index <= until:
            _apply(machine, data, index)
    term = entries[until - entries[0][1]][2]
    return StoredState(
        machine, configuration, until, term, last_index, last_term, last_index - committed
    )


def _newest(configuration: Configuration, entries: list[Entry], applied: int) -> Configuration:
    """The newest configuration in the log counts, committed or not."""
    for data, index, _ in entries:
        if index > applied and data[:1] == bytes([guard.MEMBERSHIP]):
            configuration = membership.decode(data[1:])
    return configuration


def _apply(machine: StateMachine, data: bytes, index: int) -> None:
    if data[:1] != bytes([guard.REGULAR]):
        return
    try:
        time_ms, commands = codec.unpack(memoryview(data)[1:])
    except ValueError as error:
        raise Damaged(f"log entry {index} cannot be read: {error}") from error
    for command in commands:
        machine.apply(command, Stamp(index, time_ms))


def _no_pause() -> None:
    """Nobody else runs."""
