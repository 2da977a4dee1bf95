"""The durable Raft log of one node: append-only segments, one frame and one fdatasync for a sync.

Used by one thread only, the engine's. Knows nothing of pysyncobj, dumps or the data folder.
docs/engine.md says why this is no database: silent loss behind a flipped bit.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, NoReturn, Self

from .. import limits
from ..errors import HeroctlError, LogFault, LogFull, UsageError
from . import frames, records, segments
from .disk import Disk
from .log_scan import Scan, scan_log
from .log_state import LogState
from .records import DumpRef
from .replay import Entry
from .segments import Segment

__all__ = ["DumpRef", "Entry", "Log"]

SEGMENT_BYTES: Final = 16 * limits.MIB
ZEROS_AHEAD: Final = 128 * limits.KIB
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


class Log(LogState):
    """Raft's log, term and vote on disk.

    Every method raises LogFault once a sync has failed: the page cache may then show what the disk
    lacks, so the caller stops and starts again in another boot. LogFull: there was no space,
    nothing of the call counts, and the same call may be made again when there is.
    """

    def __init__(
        self, folder: Path, scan: Scan, fd: int, *, segment_bytes: int, disk: Disk
    ) -> None:
        super().__init__(scan.replay.base(), scan.replay.entries())
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._log_id = scan.log_id
        self._salt = segments.salt_of(scan.log_id)
        self._segments: list[Segment] = scan.segments
        self._frame_number, self._frame_crc = scan.frame_number, scan.frame_crc
        self._fd = fd
        self._end = self._zeroed = scan.end  # zeros were tried up to `_zeroed`
        self._room = os.fstat(fd).st_size
        self._junk_end = scan.end  # how far a write that found no space may have come
        self._pending: list[bytes] = []
        self._synced_base = scan.replay.base()
        self._failed: HeroctlError | None = None

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        anchor_index: int = 1,
        anchor_term: int = 0,
        dump: DumpRef | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
    ) -> Self:
        """A new log in an empty or new folder. With a dump the anchor is the dump's place.

        Its parent is not synced: the caller makes the log visible, by CURRENT.
        """
        folder, disk = Path(folder), disk or Disk()
        if folder.exists() and any(not path.name.endswith(".new") for path in folder.iterdir()):
            raise UsageError(f"{folder} is not empty, so no log is made there")
        base = records.first_base(anchor_index, anchor_term, dump)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            segments.make_segment(disk, folder, os.urandom(16), 1, segment_bytes, (1, 0), base)
        except OSError as error:
            kind = LogFull if error.errno in _NO_SPACE else LogFault
            raise kind(f"cannot make a log in {folder}: {error.strerror}") from error
        return cls.open(folder, segment_bytes=segment_bytes, disk=disk)

    @classmethod
    def open(
        cls, folder: str | Path, *, segment_bytes: int = SEGMENT_BYTES, disk: Disk | None = None
    ) -> Self:
        """The log in `folder`, durable. A torn last write is cut off, files that an interrupted
        step left are removed; anything else that does not fit raises Damaged, UnsupportedVersion
        or NotAnArchive and changes nothing."""
        folder, disk = Path(folder), disk or Disk()
        scan = scan_log(folder)
        try:
            fd = disk.open(scan.segments[-1].path)
            try:
                _repair(disk, folder, scan, fd)
            except OSError:
                disk.close(fd)
                raise
        except OSError as error:
            raise LogFault(f"cannot open the log in {folder}: {error}") from error
        log = cls(folder, scan, fd, segment_bytes=segment_bytes, disk=disk)
        while log._drop_oldest():
            disk.wait_discarded()
        return log

    @property
    def dirty(self) -> bool:
        """Whether something waits for `sync`."""
        return bool(self._pending)

    def append(self, data: bytes, index: int, term: int) -> None:
        """Adds the next entry; durable after `sync`. Its term is at least the last entry's."""
        if self._failed is not None:
            self._refuse()
        self._check_append(index, term)
        self.entries.append((data, index, term))
        self._pending += (records.entry_head(index, term, len(data)), data)

    def truncate_from(self, index: int) -> None:
        """Drops the entries from `index` on; durable after `sync`. Never the anchor."""
        if self._failed is not None:
            self._refuse()
        if index > self.last_index:
            return
        self._cut(index)
        self._bound_segments(index - 1)
        self._pending.append(records.truncate_record(index, self.entries[-1][2]))

    def set_term(self, term: int, vote: str | None) -> None:
        """Durable when it returns, together with all that waited."""
        if term < self.term:
            raise ValueError(f"term {term} after term {self.term}")
        if (term, vote) == (self.term, self.vote):
            if self._failed is not None:
                self._refuse()
            return
        self._sync_with(records.term_record(term, vote))
        self.term, self.vote = term, vote
        self._synced_base = self._base(self._synced_base.commit_index)

    def set_commit(self, index: int) -> None:
        """Notes the commit index. It rides with the next frame, and only as far as there are
        entries; it is a hint that saves work after a start, so losing it harms nothing."""
        self.commit_index = index

    def install(self, dump: DumpRef) -> None:
        """Makes `dump` the whole log: it is the anchor, all entries are gone. Durable when it
        returns; the dump's file must be durable before."""
        self._sync_with(records.install_record(dump))
        self._start_over(dump)
        self._bound_segments(0)
        self._synced_base = self._base(dump.index)
        self._drop_oldest()

    def compact(self, dump: DumpRef, keep_from: int) -> None:
        """Makes `dump` the current one and `keep_from`, at most the dump's index, the anchor.
        Durable when it returns; the dump's file must be durable before."""
        self._check_compact(dump, keep_from)
        self._sync_with(records.compact_record(keep_from, self.term_at(keep_from), dump))
        self._forget_below(keep_from, dump)
        self._synced_base = self._base(max(self._synced_base.commit_index, dump.index))
        self._drop_oldest()

    def sync(self) -> None:
        """Makes everything that waits durable: one frame, one fdatasync."""
        if self._failed is not None:
            self._refuse()
        if not self._pending:
            return
        commit = min(self.commit_index, self.last_index)
        if commit > self._synced_base.commit_index:
            self._write_frame([*self._pending, records.commit_record(commit)])
        else:
            commit = self._synced_base.commit_index
            self._write_frame(self._pending)
        self._pending.clear()
        self.synced_index = self._segments[-1].last_index = self.last_index
        self._synced_base = self._base(commit)
        self._drop_oldest()

    def sync_commit(self) -> None:
        """Makes the commit index durable too. For a quiet moment and a clean stop: an offline save
        of the stopped folder then knows that the last entries were committed."""
        if not self._pending:
            commit = min(self.commit_index, self.last_index)
            if commit > self._synced_base.commit_index:
                self._pending.append(b"")  # the commit record is added by `sync`
        self.sync()

    def close(self) -> None:
        """Closes the file. What was not synced is lost, as in a crash. Idempotent."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
            self._disk.wait_discarded()
            self._failed = self._failed or UsageError("the log is closed")

    def _refuse(self) -> NoReturn:
        failed = self._failed or UsageError("the log is closed")
        raise type(failed)(failed.message, hint=failed.hint)

    def _sync_with(self, record: bytes) -> None:
        """Syncs `record` with all that waits; when there is no space it is as if never asked."""
        if self._failed is not None:
            self._refuse()
        before = len(self._pending)
        self._pending.append(record)
        try:
            self.sync()
        except LogFull:
            del self._pending[before:]
            raise

    def _write_frame(self, parts: list[bytes]) -> None:
        try:
            data, crc = self._encode(parts)
            if self._end + len(data) > self._room:
                self._next_segment(len(data))
                data, crc = self._encode(parts)
            self._junk_end = max(self._junk_end, self._end + len(data))
            self._disk.write(self._fd, data, self._end)
            self._write_zeros(self._end + len(data), len(data))
        except OSError as error:
            self._write_failed(error)
        self._sync_data()
        self._end += len(data)
        self._frame_number, self._frame_crc = self._frame_number + 1, crc

    def _write_zeros(self, end: int, frame_bytes: int) -> None:
        """Writes zeros behind a frame now and then. Blocks that are only reserved cost the file
        system a journal commit when they are first written; the next frames need none.

        A write of its own, which may fail for want of space: as one with the frame it could fail
        behind a whole frame, that would count although the caller was told otherwise. Among large
        frames each would need zeros of its own, which costs more than it saves.
        """
        if end <= self._zeroed or frame_bytes > ZEROS_AHEAD // 4:
            return
        self._zeroed = min(end + ZEROS_AHEAD, self._room)
        try:
            self._disk.write(self._fd, bytes(self._zeroed - end), end)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise

    def _sync_data(self) -> None:
        try:
            self._disk.sync_data(self._fd)
        except OSError as error:
            self._fault(error)

    def _encode(self, parts: list[bytes]) -> tuple[bytes, int]:
        return frames.encode_frame(self._frame_number + 1, self._frame_crc, parts, self._salt)

    def _next_segment(self, frame_bytes: int) -> None:
        """Goes on in a new segment with room for `frame_bytes`."""
        if self._junk_end > self._end:  # or it would look like damage before a later frame
            self._disk.write(self._fd, bytes(self._junk_end - self._end), self._end)
            self._sync_data()
        number = self._segments[-1].number + 1
        size = max(self._segment_bytes, segments.BASE_ROOM + frame_bytes)
        frame = (self._frame_number + 1, self._frame_crc)
        path, end, crc = segments.make_segment(
            self._disk, self._folder, self._log_id, number, size, frame, self._synced_base
        )
        fd = self._disk.open(path)
        self._disk.close(self._fd)
        self._fd, self._room = fd, size
        self._end = self._zeroed = self._junk_end = end
        self._segments.append(Segment(number, path, self._synced_base.last_index))
        self._frame_number, self._frame_crc = frame[0], crc

    def _write_failed(self, error: OSError) -> NoReturn:
        if error.errno not in _NO_SPACE:
            self._fault(error)
        raise LogFull(f"no space for the log in {self._folder}: {error.strerror}") from error

    def _fault(self, error: OSError) -> NoReturn:
        path = self._segments[-1].path
        self._failed = LogFault(
            f"{path} could not be written: {error.strerror or error}",
            hint="the disk or its file system failed; look at the kernel's log, then reboot",
        )
        raise self._failed from error

    def _bound_segments(self, last_index: int) -> None:
        for segment in self._segments:
            segment.last_index = min(segment.last_index, last_index)

    def _drop_oldest(self) -> bool:
        """Removes the oldest segment when all its entries lie below the anchor, beside this
        thread; one at a time, so that the oldest goes first.

        Not synced: `log_scan` knows what to do with a file that came back.
        """
        oldest = self._segments[0]
        if len(self._segments) == 1 or oldest.last_index > self.first_index:
            return False
        try:
            if not self._disk.discard(oldest.path):
                return False
        except OSError as error:
            self._fault(error)
        del self._segments[0]
        return True


def _repair(disk: Disk, folder: Path, scan: Scan, fd: int) -> None:
    """Cuts off a torn write and removes what an interrupted step left."""
    if scan.torn_bytes:
        disk.write(fd, bytes(scan.torn_bytes), scan.end)
        disk.sync_data(fd)
    else:
        disk.sync_data(fd)  # who was killed before its sync left a frame that only the system has
    for path in scan.leftovers:
        disk.unlink(path)
    disk.sync_folder(folder)
