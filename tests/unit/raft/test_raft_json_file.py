"""Small JSON files: their checksum, and every single bit that may flip in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl_core.errors import Damaged
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.json_file import read_json, write_json

VALUE = {"name": "node-1 ä", "lineage": [[1, "a"], [2, "b"]], "of": None, "share": 0.1}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mark.json"
    write_json(path, VALUE)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three voters, a mark and a receipt."""
    path = tmp_path_factory.mktemp("folder") / "data"
    opened = DataFolder.open(path, node_name="node-1", cluster_name="prod")
    opened.found("prod", {c * 32: (f"node-{c}", f"127.0.0.1:710{c}") for c in "123"})
    opened.set_mark("left", {"generation": 2, "restore_id": "ab", "member_id": "other"})
    write_json(path / "receipt.json", {"generation": 1, "restore_id": "ab", "forced": True})
    opened.close()
    return path


def flips(path: Path) -> Iterator[tuple[int, int]]:
    """Leaves the file with each of its bits flipped, one after the other, then as it was."""
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            yield at, bit
    path.write_bytes(whole)


@pytest.mark.parametrize(
    "name", ["node.json", "generations/*/header.json", "left.json", "receipt.json"]
)
def test_every_flipped_bit_is_noticed(folder: Path, name: str, tmp_path: Path) -> None:
    """Exhaustively: no single bit changes what is read, nor makes a file without a checksum of it.
    The error names the file and the way out."""
    (source,) = folder.glob(name)
    path = tmp_path / source.name
    shutil.copy(source, path)
    unnoticed = []
    for place in flips(path):
        try:
            read_json(path)
        except Damaged as error:
            assert str(path) in error.message
            assert error.hint is not None and "restore a snapshot" in error.hint
        else:
            unnoticed.append(place)
    assert unnoticed == []
    assert read_json(path) == read_json(source)


def test_a_folder_with_a_flipped_bit_is_not_opened(folder: Path) -> None:
    """Neither for a node nor for an offline command."""
    for name in ("node.json", "generations/*/header.json"):
        (path,) = folder.glob(name)
        at, _bit = next(
            (at, bit) for at, bit in flips(path) if bit == 0 and path.read_bytes()[at] == ord("0")
        )
        whole = bytearray(path.read_bytes())
        with pytest.raises(Damaged, match=path.name):
            DataFolder.open(folder, node_name="node-1", cluster_name="prod")
        with pytest.raises(Damaged, match=path.name):
            DataFolder.open_existing(folder)
        whole[at] ^= 1
        path.write_bytes(whole)
    DataFolder.open_existing(folder).close()


def test_what_is_written_is_read(file: Path) -> None:
    """The two keys of the checksum are not part of the value, and stay out of the next write."""
    assert read_json(file) == VALUE
    write_json(file, read_json(file))
    assert read_json(file) == VALUE


def test_a_file_of_an_older_release_is_read(file: Path) -> None:
    """It has no checksum; also when somebody has written it by hand."""
    for indent in (None, 1, 2):
        file.write_text(json.dumps(VALUE, indent=indent))
        assert read_json(file) == VALUE


def test_an_older_release_reads_the_file(file: Path) -> None:
    """It is the same JSON object with two keys more, so going back one release is possible."""
    value = json.loads(file.read_text())
    assert {key: value[key] for key in VALUE} == VALUE
    assert set(value) - set(VALUE) == {"sha256", "sha256_of"}


@pytest.mark.parametrize("gone", ["sha256", "sha256_of"])
def test_half_a_checksum_is_none(file: Path, gone: str) -> None:
    """A file that has one of the two keys lost the other one."""
    value = json.loads(file.read_text())
    del value[gone]
    file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    with pytest.raises(Damaged, match="its sha256 differs"):
        read_json(file)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"1" * 5000, b"[" * 100_000, b"\xff\xfe{}", b'{"sha256": 1}']
)
def test_what_is_no_json_object(file: Path, text: bytes) -> None:
    """Empty, cut, something else, nested without end: Damaged, never another error."""
    file.write_bytes(text)
    with pytest.raises(Damaged, match=r"mark\.json is (no JSON|not what was written)"):
        read_json(file)
