"""Dumps of the whole state: written beside the loop, verified before anything counts on them.

A dump stands for every log entry up to its index, so it replaces them: it is read back and checked
in full before it gets its name, and again before a machine with its content is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import limits
from ..errors import Damaged, StateDefect
from ..files import AtomicFile, faults, fsync_dir
from ..state.machine import DumpState, StateMachine
from ..state.tables import FINGERPRINT_MASK, row_digest
from .dump_format import DumpHeader, DumpReader, Pause, encode_dump
from .port import Lineage
from .records import DumpRef
from .segments import WAYS_OUT

SUFFIX: Final = ".dump"
_NAME: Final = re.compile(r"[0-9]+-[0-9a-z]{1,8}-[0-9]+-[0-9]+\.dump")
PAUSE_S: Final = 0.000_05


@dataclass(frozen=True, slots=True)
class LoadedDump:
    """A verified dump: its header and a machine with its content."""

    header: DumpHeader
    machine: StateMachine


def let_others_run() -> None:
    """Gives the interpreter to a waiting thread; without it that one waits 5 ms each time."""
    time.sleep(PAUSE_S)


def dump_name(lineage: Lineage, index: int, term: int) -> str:
    """The file name of the dump at (index, term) of a lineage's newest generation."""
    head = lineage[-1]
    return f"{head.number}-{head.restore_id[:8]}-{index}-{term}{SUFFIX}"


def is_dump_name(name: str) -> bool:
    """Whether `name`, which may come from another node, is one that `dump_name` makes."""
    return _NAME.fullmatch(name) is not None


def write_dump(
    folder: Path,
    *,
    lineage: Lineage,
    index: int,
    term: int,
    configuration: bytes,
    state: DumpState,
    pause: Pause = let_others_run,
) -> DumpRef:
    """A durable, verified dump of `state`, for any thread. FileFault: the disk is full or broken;
    Damaged: what was read back is not what was written."""
    view = state.view
    header = DumpHeader(
        lineage,
        index,
        term,
        configuration,
        view.revision,
        view.epoch,
        view.time_ms,
        {kind: view.count(kind) for kind in view.kinds},
        {kind: view.fingerprint(kind) for kind in view.kinds},
    )
    digest = hashlib.sha256()
    with AtomicFile(folder / dump_name(lineage, index, term)) as file:
        for piece in encode_dump(header, state, pause):
            digest.update(piece)
            file.write(piece)
            pause()
        file.sync()
        ref = DumpRef(index, term, digest.hexdigest(), file.path.name)
        _verify(file.fd, file.path, ref, lineage, pause)
    return ref


def read_header(folder: Path, ref: DumpRef, lineage: Lineage) -> DumpHeader:
    """The header of a dump whose file digest, place and lineage are those that `ref` says."""
    with _opened(folder / ref.name) as fd:
        return _checked(fd, folder / ref.name, ref, lineage, let_others_run).header


def load_dump(
    folder: Path, ref: DumpRef, lineage: Lineage, *, pause: Pause = let_others_run
) -> LoadedDump:
    """The dump in a new machine; Damaged for anything that does not fit `ref`, `lineage` or the
    dump's own counts and fingerprints. For any thread."""
    path = folder / ref.name
    with _opened(path) as fd:
        reader = _checked(fd, path, ref, lineage, pause)
        header, machine = reader.header, StateMachine()
        try:
            machine.load_dump(
                reader.rows(),
                reader.requests(),
                revision=header.revision,
                epoch=header.epoch,
                time_ms=header.time_ms,
            )
        except (ValueError, StateDefect) as error:
            raise Damaged(f"{path}: {error}", hint=WAYS_OUT) from error
    found = {kind: (machine.count(kind), machine.fingerprint(kind)) for kind in header.counts}
    _compare(path, header, found)
    return LoadedDump(header, machine)


def remove_files(paths: list[Path]) -> None:
    """Removes files, durably."""
    for path in paths:
        with faults(path):
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        fsync_dir(folder)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing, and the log needs it", hint=WAYS_OUT) from error
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}", hint=WAYS_OUT) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _checked(fd: int, path: Path, ref: DumpRef, lineage: Lineage, pause: Pause) -> DumpReader:
    """A reader behind the header of the very file that `ref` names."""
    sha256 = _digest(fd, path, pause)
    if sha256 != ref.sha256:
        found = f"its sha256 is {sha256[:16]}..., the log says {ref.sha256[:16]}..."
        raise Damaged(f"{path}: {found}", hint=WAYS_OUT)
    reader = DumpReader(_Reading(fd, path), str(path), pause)
    header = reader.header
    if (header.index, header.term) != (ref.index, ref.term):
        found = f"it is of index {header.index} term {header.term}"
        raise Damaged(f"{path}: {found}, not {ref.index} and {ref.term}", hint=WAYS_OUT)
    if header.lineage != lineage:
        found = f"{header.lineage[-1:]} and not {lineage[-1:]}"
        raise Damaged(f"{path} is of another generation: {found}", hint=WAYS_OUT)
    return reader


def _verify(fd: int, path: Path, ref: DumpRef, lineage: Lineage, pause: Pause) -> None:
    """Reads everything back; raises Damaged when it is not what was written."""
    reader = _checked(fd, path, ref, lineage, pause)
    reader.requests()
    found = dict.fromkeys(reader.header.counts, (0, 0))
    for kind, key, row in reader.rows():
        count, total = found.get(kind, (0, 0))
        found[kind] = (count + 1, (total + row_digest(kind, key, row)) & FINGERPRINT_MASK)
    _compare(path, reader.header, found)


def _compare(path: Path, header: DumpHeader, found: dict[str, tuple[int, int]]) -> None:
    for kind, (count, fingerprint) in found.items():
        if count != header.counts.get(kind):
            what = f"{count} rows in {kind}, the header says {header.counts.get(kind)}"
            raise Damaged(f"{path}: {what}", hint=WAYS_OUT)
        if fingerprint != header.fingerprints.get(kind):
            raise Damaged(f"{path}: the fingerprint of {kind} does not match", hint=WAYS_OUT)


def _digest(fd: int, path: Path, pause: Pause) -> str:
    digest = hashlib.sha256()
    read = _Reading(fd, path)
    while data := read(limits.MIB):
        digest.update(data)
        pause()
    return digest.hexdigest()


class _Reading:
    """Reads a descriptor from its beginning, whatever others do with its position."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._offset = 0

    def __call__(self, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            try:
                data = os.pread(self._fd, length, self._offset)
            except OSError as error:
                raise Damaged(f"{self._path}: {error.strerror}", hint=WAYS_OUT) from error
            if not data:
                break
            pieces.append(data)
            self._offset += len(data)
            length -= len(data)
        return b"".join(pieces)
