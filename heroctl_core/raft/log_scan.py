"""Reading a log folder back, and telling a torn write from damage. Changes nothing on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import LogFault, NotAnArchive
from . import frames, records, segments
from .frames import Frame
from .records import Base
from .replay import Replay
from .segments import Segment

_ZEROS: Final = bytes(64 * 1024)
_NAME: Final = re.compile(r"([0-9]{16})\.segment(\.new)?")


@dataclass(slots=True)
class Scan:
    """All that reading a log folder gives; nothing on disk was changed."""

    replay: Replay
    log_id: bytes
    segments: list[Segment]
    leftovers: list[Path]  # files that an interrupted step left and that count for nothing
    frame_number: int  # of the last whole frame
    frame_crc: int
    end: int  # where the next frame goes in the last segment
    torn_bytes: int  # of an interrupted write, from `end` on


def scan_log(folder: Path) -> Scan:
    """Reads every segment; raises Damaged, UnsupportedVersion or NotAnArchive (a foreign file)."""
    try:
        names = sorted(path.name for path in folder.iterdir())
        run, leftovers = _newest_run(folder, names)
        reader = _Reader()
        for segment in run:
            reader.read(segment, is_last=segment is run[-1])
    except OSError as error:
        raise LogFault(
            f"cannot read the log in {folder}: {error}", hint=segments.WAYS_OUT
        ) from error
    return reader.result(folder, leftovers)


def _newest_run(folder: Path, names: list[str]) -> tuple[list[Segment], list[Path]]:
    """The newest segments without a gap in their numbers, and all other files of ours.

    Segments are unlinked oldest first, but a power cut may undo any of these unlinks.
    """
    run: list[Segment] = []
    leftovers: list[Path] = []
    for text in reversed(names):
        match = _NAME.fullmatch(text)
        if match is None:
            raise NotAnArchive(
                f"{folder / text} does not belong into a log folder",
                hint="move it away, when nobody knows what it is; the log itself is not changed",
            )
        number = int(match[1])
        if match[2] or (run and run[0].number != number + 1):
            leftovers.append(folder / text)
        else:
            run.insert(0, Segment(number, folder / text))
    if not run:
        raise segments.damaged(folder, 0, "there is no segment")
    return run, leftovers


class _Reader:
    """Walks the segments in order and carries the chain from one to the next."""

    def __init__(self) -> None:
        self._replay = Replay(Base(0, 0, 0, 0, 0, None, 0, None))  # replaced by the first base
        self._log_id = b""
        self._salt = 0
        self._number = 0
        self._crc = 0
        self._end = 0
        self._torn_bytes = 0
        self._segments: list[Segment] = []

    def read(self, segment: Segment, *, is_last: bool) -> None:
        data = segment.path.read_bytes()
        log_id, number = segments.decode_preamble(segment.path, data)
        if number != segment.number or (self._segments and log_id != self._log_id):
            raise NotAnArchive(f"{segment.path} belongs to another log", hint=segments.WAYS_OUT)
        self._log_id, self._salt = log_id, segments.salt_of(log_id)
        self._end = segments.PREAMBLE_BYTES
        if not self._read_frame(segment, data, self._read_base):
            raise segments.damaged(segment.path, self._end, "the segment's first frame is invalid")
        self._segments.append(segment)
        while self._read_frame(segment, data, self._read_records):
            pass
        self._torn_bytes = self._check_tail(segment, data, is_last=is_last)

    def _read_frame(
        self, segment: Segment, data: bytes, read: Callable[[bytes, Frame], None]
    ) -> bool:
        """Whether there is a whole frame; if so it has been read."""
        frame = frames.read_frame(data, self._end, self._salt)
        if frame is None:
            return False
        expected = (self._number + 1, self._crc)
        if self._segments and (frame.number, frame.previous) != expected:
            found = f"frame {frame.number} does not fit behind frame {self._number}"
            raise segments.damaged(segment.path, self._end, found)
        try:
            read(data, frame)
        except (ValueError, TypeError) as error:
            found = f"frame {frame.number}: {error}"
            raise segments.damaged(segment.path, self._end, found) from error
        segment.last_index = self._replay.last[0]
        self._number, self._crc, self._end = frame.number, frame.crc, frame.end
        return True

    def _read_base(self, data: bytes, frame: Frame) -> None:
        (kind, body), *more = records.split(data, frame.start, frame.stop)
        if kind != records.BASE or more:
            raise ValueError("the base must stand here, alone")
        base = records.decode_base(body)
        if not self._segments:
            self._replay = Replay(base)
        elif base != self._replay.base():
            raise ValueError("the base does not fit the segments before")

    def _read_records(self, data: bytes, frame: Frame) -> None:
        for kind, body in records.split(data, frame.start, frame.stop):
            self._replay.feed(kind, body)
            if kind in (records.TRUNCATE, records.INSTALL):
                bound = self._replay.last[0] if kind == records.TRUNCATE else 0
                for segment in self._segments:
                    segment.last_index = min(segment.last_index, bound)

    def _check_tail(self, segment: Segment, data: bytes, *, is_last: bool) -> int:
        """The length of a torn write at the end; raises Damaged when it cannot be one.

        A frame is written only after the one before was synced: with any sign of a later frame the
        invalid one was durable once, so it is damage and no torn write.
        """
        torn_bytes = _used(data, self._end)
        if not torn_bytes:
            return 0
        later = frames.find_successor(data, self._end, self._number + 1, self._salt)
        if not is_last or later is not None:
            where = "in a later segment" if later is None else f"at byte {later}"
            found = f"frame {self._number + 1} is invalid, but a later frame follows {where}"
            raise segments.damaged(segment.path, self._end, found)
        return torn_bytes

    def result(self, folder: Path, leftovers: list[Path]) -> Scan:
        missing = self._replay.missing()
        if missing is not None:
            before = segments.segment_name(self._segments[0].number - 1)
            found = f"segment {before} is missing; entry {missing} was in it, or before"
            raise segments.damaged(folder, 0, found)
        return Scan(
            self._replay,
            self._log_id,
            self._segments,
            leftovers,
            self._number,
            self._crc,
            self._end,
            self._torn_bytes,
        )


def _used(data: bytes, start: int) -> int:
    """How many bytes from `start` on are not just the zeros at the end. By blocks: rstrip would
    take 70 ms for an empty segment."""
    end = len(data)
    while end - start >= len(_ZEROS) and data.endswith(_ZEROS, end - len(_ZEROS), end):
        end -= len(_ZEROS)
    return len(data[start:end].rstrip(b"\0"))
