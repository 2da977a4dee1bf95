"""What the log makes of torn writes, flipped bits, missing and foreign files."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from heroctl_core.errors import ArchiveError, Damaged, LogFault, NotAnArchive, UnsupportedVersion
from heroctl_core.raft import segments
from heroctl_core.raft.log import Log
from heroctl_core.raft.log_scan import scan_log
from heroctl_core.raft.records import DumpRef

SEGMENT = 64 * 1024
PAGE = 4096


def fill(log: Log, count: int, *, size: int = 200, term: int = 1) -> None:
    for index in range(log.last_index + 1, log.last_index + 1 + count):
        log.append(bytes([index % 251]) * size, index, term)
        log.sync()


def frame_ends(folder: Path) -> int:
    return scan_log(folder).end


def last_file(folder: Path) -> Path:
    return sorted(folder.iterdir())[-1]


def reopened(folder: Path) -> Log:
    log = Log.open(folder, segment_bytes=SEGMENT)
    log.close()
    return log


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def log_with_last_frame(folder: Path, size: int) -> tuple[Path, int, int]:
    """A log of 5 entries in 4 frames; the file, and where the last frame begins and ends."""
    log = Log.create(folder, segment_bytes=SEGMENT)
    fill(log, 3)
    start = frame_ends(folder)
    log.append(b"x" * size, 5, 1)
    log.append(b"y" * size, 6, 1)
    log.sync()
    log.close()
    return last_file(folder), start, frame_ends(folder)


def test_torn_at_every_byte(folder: Path) -> None:
    """However few bytes of the last frame arrived, it is cut off and all before it is there."""
    path, start, _ = log_with_last_frame(folder, 40)
    whole = path.read_bytes()
    # The log's id is random, so the frame's CRC may end in zeros, which a cut cannot take away.
    for cut in range(start, len(whole.rstrip(b"\0"))):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        log = reopened(folder)
        assert log.last_index == 4, cut
        assert path.read_bytes() == whole[:start] + bytes(len(whole) - start)
    path.write_bytes(whole)
    assert reopened(folder).last_index == 6


def test_torn_with_any_subset_of_pages(folder: Path) -> None:
    """Whatever 4 KiB pages of the last frame arrived: all of them count, fewer are cut off."""
    path, start, end = log_with_last_frame(folder, 9000)
    whole = path.read_bytes()
    pages = range(start // PAGE, end // PAGE + 1)
    assert len(pages) == 5
    for missing in itertools.chain.from_iterable(
        itertools.combinations(pages, n) for n in range(1, len(pages) + 1)
    ):
        torn = bytearray(whole)
        for page in missing:
            first, last = max(page * PAGE, start), min((page + 1) * PAGE, end)
            torn[first:last] = bytes(last - first)
        path.write_bytes(torn)
        assert reopened(folder).last_index == 4, missing
        assert not any(path.read_bytes()[start:])


def test_log_goes_on_after_a_torn_write(folder: Path) -> None:
    """After the cut the log takes new entries, also shorter ones, and opens again."""
    path, start, end = log_with_last_frame(folder, 9000)
    whole = path.read_bytes()
    path.write_bytes(whole[: start + 5000] + bytes(len(whole) - start - 5000))
    log = Log.open(folder, segment_bytes=SEGMENT)
    fill(log, 500, term=2)
    log.close()
    assert [term for _, _, term in reopened(folder).entries] == [0, 1, 1, 1] + [2] * 500
    assert end < len(whole)


def test_flipped_bit_in_the_last_frame_is_a_torn_write(folder: Path) -> None:
    """Nothing tells a flipped bit in the last frame from a torn write; nothing before is lost."""
    path, start, end = log_with_last_frame(folder, 40)
    whole = path.read_bytes()
    for at in range(start, end):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        assert reopened(folder).last_index == 4, at


def test_flipped_bit_in_an_earlier_frame_is_damage(folder: Path) -> None:
    """A bit that flips anywhere before the last frame is refused; the folder stays as it is."""
    path, start, _ = log_with_last_frame(folder, 40)
    whole = path.read_bytes()
    for at in range(start):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        with pytest.raises(ArchiveError) as caught:
            reopened(folder)
        assert str(path) in caught.value.message
        assert "rejoin as a new member" in str(caught.value.hint)
        assert path.read_bytes() == flipped


def test_damage_names_the_place(folder: Path) -> None:
    """The error names the file, the offset of the bad frame and that a later one follows."""
    path, start, _ = log_with_last_frame(folder, 40)
    whole = bytearray(path.read_bytes())
    whole[start - 10] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Damaged, match=r"segment at byte \d+: frame 4 is invalid, but a later"):
        reopened(folder)


def test_damaged_frame_before_a_torn_one_is_damage(folder: Path) -> None:
    """The head of a torn frame proves that the frame before it was durable once."""
    path, start, end = log_with_last_frame(folder, 40)
    whole = bytearray(path.read_bytes())
    whole[start - 10] ^= 1
    whole[end - 10] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="frame 4 is invalid"):
        reopened(folder)


def test_zeroed_sector_in_the_middle_is_damage(folder: Path) -> None:
    """A hole of zeros is not the end of the log when frames follow it."""
    log = Log.create(folder, segment_bytes=SEGMENT)
    fill(log, 100)
    log.close()
    path = last_file(folder)
    whole = bytearray(path.read_bytes())
    whole[PAGE : 2 * PAGE] = bytes(PAGE)
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="but a later frame follows"):
        reopened(folder)


def test_bytes_that_look_like_frames_are_none(folder: Path) -> None:
    """A user who stores a whole segment as a value cannot turn a torn write into damage."""
    other = Log.create(folder.parent / "other", segment_bytes=SEGMENT)
    fill(other, 50)
    other.close()
    evil = last_file(folder.parent / "other").read_bytes()[:20000]
    log = Log.create(folder, segment_bytes=SEGMENT)
    fill(log, 1)
    start = frame_ends(folder)
    log.append(evil, 3, 1)
    log.sync()
    log.close()
    path = last_file(folder)
    whole = bytearray(path.read_bytes())
    whole[start : start + 10] = bytes(10)
    path.write_bytes(whole)
    assert reopened(folder).last_index == 2


class TestSegments:
    """A log of several segments."""

    @pytest.fixture
    def files(self, folder: Path) -> list[Path]:
        log = Log.create(folder, segment_bytes=SEGMENT)
        fill(log, 60, size=5000)
        log.close()
        files = sorted(folder.iterdir())
        assert len(files) >= 4
        return files

    def test_missing_segment_in_the_middle(self, folder: Path, files: list[Path]) -> None:
        """A gap in the segments' numbers is refused, and nothing is removed."""
        files[2].unlink()
        before = content(folder)
        with pytest.raises(Damaged, match=f"segment {files[2].name} is missing; entry 2"):
            reopened(folder)
        assert content(folder) == before

    def test_missing_first_segment(self, folder: Path, files: list[Path]) -> None:
        """The first segment may only be missing when nothing in it is needed."""
        files[0].unlink()
        with pytest.raises(Damaged, match=f"segment {files[0].name} is missing"):
            reopened(folder)

    def test_no_segment(self, folder: Path, files: list[Path]) -> None:
        """An empty log folder is damage, never a new log."""
        for path in files:
            path.unlink()
        with pytest.raises(Damaged, match="there is no segment"):
            reopened(folder)

    def test_no_folder(self, folder: Path) -> None:
        """A missing log folder is an error that names it."""
        with pytest.raises(LogFault, match=r"cannot read the log in .*log"):
            reopened(folder)

    def test_damage_in_the_last_frame_of_an_earlier_segment(
        self, folder: Path, files: list[Path]
    ) -> None:
        """Only the last segment can end in a torn write."""
        data = bytearray(files[1].read_bytes())
        end = len(bytes(data).rstrip(b"\0"))
        data[end - 5] ^= 1
        files[1].write_bytes(data)
        with pytest.raises(Damaged, match=rf"{files[1].name}.*in a later segment"):
            reopened(folder)

    def test_lost_tail_of_an_earlier_segment(self, folder: Path, files: list[Path]) -> None:
        """Zeros where the last frame of an earlier segment was break the chain."""
        data = files[1].read_bytes()
        end = len(data.rstrip(b"\0"))
        files[1].write_bytes(data[: end - 5050] + bytes(len(data) - end + 5050))
        with pytest.raises(Damaged):
            reopened(folder)

    def test_foreign_file(self, folder: Path, files: list[Path]) -> None:
        """A file that is not ours is named, not skipped."""
        (folder / "notes.txt").write_text("hello")
        with pytest.raises(NotAnArchive, match=r"notes\.txt does not belong"):
            reopened(folder)

    def test_foreign_content_under_our_name(self, folder: Path, files: list[Path]) -> None:
        """Something else under a segment's name is no segment."""
        files[-1].write_bytes(b"SQLite format 3\0" + bytes(SEGMENT))
        with pytest.raises(NotAnArchive, match="is no segment of a log"):
            reopened(folder)

    def test_segment_of_another_log(self, folder: Path, files: list[Path]) -> None:
        """A segment that was copied from another node's log is refused."""
        other = Log.create(folder.parent / "other", segment_bytes=SEGMENT)
        fill(other, 60, size=5000)
        other.close()
        shutil.copy(folder.parent / "other" / files[1].name, files[1])
        with pytest.raises(NotAnArchive, match="belongs to another log"):
            reopened(folder)

    def test_segment_under_a_wrong_number(self, folder: Path, files: list[Path]) -> None:
        """A segment knows its number, so a renamed one is seen."""
        files[-1].rename(folder / segments.segment_name(len(files) + 1))
        shutil.copy(files[-2], files[-1])
        with pytest.raises(NotAnArchive, match="belongs to another log"):
            reopened(folder)

    def test_shortened_file(self, folder: Path, files: list[Path]) -> None:
        """A file that was cut is damage, even where only zeros are missing."""
        with files[-1].open("r+b") as file:
            file.truncate(SEGMENT - 1)
        with pytest.raises(Damaged, match=f"the file has {SEGMENT - 1} of {SEGMENT} bytes"):
            reopened(folder)

    def test_empty_file(self, folder: Path, files: list[Path]) -> None:
        """An empty file under a segment's name is refused."""
        files[-1].write_bytes(b"")
        with pytest.raises(ArchiveError, match="is no segment of a log"):
            reopened(folder)

    def test_newer_format(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log of a newer release is refused with both numbers, not called damaged."""
        with monkeypatch.context() as newer:
            newer.setattr(segments, "FORMAT", 2)
            Log.create(folder, segment_bytes=SEGMENT).close()
        with pytest.raises(UnsupportedVersion, match="log format 2, this HeroCtl reads up to 1"):
            reopened(folder)

    def test_half_made_segment_is_removed(self, folder: Path, files: list[Path]) -> None:
        """A segment counts only under its final name."""
        new = folder / (segments.segment_name(len(files) + 1) + ".new")
        new.write_bytes(b"half")
        assert reopened(folder).last_index == 61
        assert not new.exists()

    def test_old_segments_that_came_back_are_removed(self, folder: Path) -> None:
        """A power cut may undo any unlink; what lies below the anchor is not missed."""
        log = Log.create(folder, segment_bytes=SEGMENT)
        fill(log, 60, size=5000)
        before = content(folder)
        log.compact(DumpRef(60, 1, "0" * 64, "d"), 59)
        log.close()
        reopened(folder)
        left = content(folder)
        assert len(left) < len(before)
        for name in sorted(before)[:-1]:
            (folder / name).write_bytes(before[name])
            assert reopened(folder).entries == log.entries
            assert content(folder) == left


def test_base_that_does_not_fit_is_damage(folder: Path) -> None:
    """Rules hold at open: an entry that leaves a gap is refused although its checksums fit."""
    log = Log.create(folder, segment_bytes=SEGMENT)
    fill(log, 3)
    log.entries.append((b"", 9, 1))  # a defect of the caller that the checks cannot see
    log.append(b"", 10, 1)
    log.sync()
    log.close()
    with pytest.raises(Damaged, match="frame 5: entry 10 follows entry 4"):
        reopened(folder)
