"""The dumps/ folder of one generation: writes, sends, receives and loads dumps beside the loop.

The adapter behind install.Dumps. Its methods are called by the engine's thread and do not wait; one
thread writes and removes, another one loads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..errors import FileFault, HeroctlError, NodeFault
from ..files import PARTIAL
from ..state.machine import StateMachine
from . import membership
from .dump import (
    PAUSE_S,
    LoadedDump,
    dump_name,
    is_dump_name,
    load_dump,
    remove_files,
    write_dump,
)
from .dump_transfer import INCOMING, FileSink, FileSource
from .install import DumpSink, Loaded, LoadFailed
from .membership import Configuration
from .port import Lineage
from .records import DumpRef


class DiskDumps:
    """Dumps of one generation. `write_error` says why the newest one could not be written."""

    def __init__(self, folder: Path, lineage: Lineage, wake: Callable[[], None]) -> None:
        """`wake` is called by other threads when there is something to poll."""
        self._folder = folder
        self._lineage = lineage
        self._wake = wake
        self._writer = ThreadPoolExecutor(1, "heroctl-dump")
        self._loader = ThreadPoolExecutor(1, "heroctl-load")
        self._writing: tuple[str, Future[DumpRef]] | None = None
        self._loading: tuple[str, Future[Loaded]] | None = None
        self._closing = False
        self.write_error: str | None = None
        remove_files([path for path in folder.iterdir() if _is_leftover(path)])

    def read(self, ref: DumpRef) -> Loaded:
        """The dump that the log names, decoded; Damaged when it is missing or does not fit.
        Waits, so only before the loop runs."""
        return _loaded(ref, load_dump(self._folder, ref, self._lineage, pause=_never))

    def close(self) -> None:
        """Ends the threads; what they had begun counts for nothing."""
        self._closing = True
        for executor in (self._writer, self._loader):
            executor.shutdown()

    def _pause(self) -> None:
        """Gives the interpreter to a waiting thread; without it that one waits 5 ms each time."""
        if self._closing:
            raise NodeFault("this node is stopping")
        time.sleep(PAUSE_S)

    # -- own dumps

    @property
    def busy(self) -> bool:
        """Whether a dump is being written."""
        return self._writing is not None

    def begin(
        self, index: int, term: int, configuration: Configuration, machine: StateMachine
    ) -> None:
        """Starts writing a dump of the machine as it is now."""
        future = self._writer.submit(
            write_dump,
            self._folder,
            lineage=self._lineage,
            index=index,
            term=term,
            configuration=configuration.encode(),
            state=machine.dump(),
            pause=self._pause,
        )
        future.add_done_callback(lambda _: self._wake())
        self._writing = (dump_name(self._lineage, index, term), future)

    def poll_written(self) -> DumpRef | None:
        """The dump that `begin` asked for, once it is durable and verified.

        A full disk is no reason to stop: the log is kept, and the next dump may fit. A dump that
        reads back differently is one, and raises Damaged.
        """
        if self._writing is None or not self._writing[1].done():
            return None
        future, self._writing = self._writing[1], None
        try:
            ref = future.result()
        except FileFault as error:
            self.write_error = str(error)
            return None
        self.write_error = None
        return ref

    def forget_but(self, ref: DumpRef) -> None:
        """Removes older dumps; not those that a thread still works on."""
        keep = {ref.name}
        keep |= {work[0] for work in (self._writing, self._loading) if work is not None}
        dumps = [path for path in self._folder.iterdir() if is_dump_name(path.name)]
        old = [path for path in dumps if path.name not in keep]
        if old and not self._closing:
            self._writer.submit(remove_files, old)  # takes a while for big ones

    # -- transfer

    def source(self, ref: DumpRef) -> FileSource:
        """The bytes of a dump; they stay readable when the file is removed meanwhile."""
        return FileSource(self._folder / ref.name)

    def sink(self, ref: DumpRef, size: int) -> FileSink:
        """Takes the bytes of a dump of another node; ValueError for a name that is none of ours."""
        if not is_dump_name(ref.name):
            raise ValueError(f"{ref.name!r} is no name of a dump")
        return FileSink(self._folder / (ref.name + INCOMING), size)

    def load(self, ref: DumpRef, sink: DumpSink) -> None:
        """Starts verifying and decoding what was received."""
        if not isinstance(sink, FileSink):
            raise TypeError("a sink of another kind")
        future = self._loader.submit(self._load, ref, sink)
        future.add_done_callback(lambda _: self._wake())
        self._loading = (ref.name, future)

    def _load(self, ref: DumpRef, sink: FileSink) -> Loaded:
        sink.finish(self._folder / ref.name)
        return _loaded(ref, load_dump(self._folder, ref, self._lineage, pause=self._pause))

    def poll_loaded(self) -> Loaded | LoadFailed | None:
        """What came of `load`, once."""
        if self._loading is None or not self._loading[1].done():
            return None
        future, self._loading = self._loading[1], None
        try:
            return future.result()
        except HeroctlError as error:
            return LoadFailed(str(error))


def _is_leftover(path: Path) -> bool:
    """Of a killed write or transfer. What is not ours stays: the folder may be a link."""
    return path.suffix in (PARTIAL, INCOMING) and is_dump_name(path.stem)


def _loaded(ref: DumpRef, dump: LoadedDump) -> Loaded:
    return Loaded(ref, membership.decode(dump.header.configuration), dump.machine)


def _never() -> None:
    """No pause: nobody else runs yet."""
