"""The data folder: whose it is, which generation counts, what is put away, what is refused."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heroctl_core.errors import (
    Busy,
    Damaged,
    FileFault,
    HeroctlError,
    NodeFault,
    UnsupportedVersion,
    UsageError,
)
from heroctl_core.raft import folder as folder_module
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.json_file import read_json, write_json
from heroctl_core.raft.port import Generation

if TYPE_CHECKING:
    from conftest import Names

ME = {"a" * 32: ("node-1", "127.0.0.1:7101")}
DAY_S = 24 * 3600


def opened(path: Path, name: str = "node-1", cluster: str = "prod") -> DataFolder:
    return DataFolder.open(path, node_name=name, cluster_name=cluster)


def founded(path: Path) -> DataFolder:
    folder = opened(path)
    folder.found("prod", ME)
    return folder


def reopened(folder: DataFolder) -> DataFolder:
    folder.close()
    return opened(folder.path)


def change_json(path: Path, **values: object) -> None:
    write_json(path, {**read_json(path), **values})


def set_left(folder: DataFolder) -> None:
    left = {"generation": 2, "restore_id": "newer", "member_id": folder.member_id}
    folder.set_mark("left", left)


# -- who it is


def test_new_folder_gets_an_identity(tmp_path: Path) -> None:
    """A folder is made with its parents, empty of generations, and keeps its member id."""
    folder = opened(tmp_path / "deep" / "data")
    assert len(folder.member_id) == 32
    assert (folder.header, folder.identity.cluster_id) == (None, None)
    assert (folder.path.stat().st_mode & 0o777) == 0o700
    again = reopened(folder)
    assert again.identity == folder.identity
    again.close()


def test_two_folders_are_two_members(tmp_path: Path) -> None:
    """The member id is random: a wiped folder is another member."""
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert first.member_id != second.member_id
    first.close()
    second.close()


def test_node_may_be_renamed_but_not_moved_to_another_cluster(tmp_path: Path) -> None:
    """The node's name is an attribute; the cluster's name is a guard."""
    folder = founded(tmp_path / "data")
    folder.close()
    renamed = opened(folder.path, name="node-9")
    assert (renamed.identity.node_name, renamed.member_id) == ("node-9", folder.member_id)
    renamed.close()
    with pytest.raises(UsageError, match="belongs to cluster 'prod', not 'staging'"):
        opened(folder.path, cluster="staging")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A folder that is open is Busy, and free after close."""
    folder = opened(tmp_path / "data")
    with pytest.raises(Busy, match="is in use by"):
        opened(folder.path)
    reopened(folder).close()


# -- paths that users give


def test_path_of_a_file(tmp_path: Path) -> None:
    """A file in place of the folder is refused and stays."""
    path = tmp_path / "data"
    path.write_text("mine")
    with pytest.raises(UsageError, match="data is not a folder"):
        opened(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("content", ["letters.txt", "lock.txt", ".git"])
def test_folder_of_somebody_else(tmp_path: Path, content: str) -> None:
    """A folder with foreign files is refused and left as it is: not even our lock stays in it."""
    (tmp_path / content).write_text("x")
    with pytest.raises(UsageError, match=f"no data folder of HeroCtl: it holds {content}"):
        opened(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [content]


def test_nobody_else_looks_into_a_generation(tmp_path: Path) -> None:
    """Every folder that is made has mode 0700, whatever the umask and the data folder's mode."""
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        founded(tmp_path).close()
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert len(modes) > 8
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_empty_mount_point(tmp_path: Path) -> None:
    """What a new file system has in it is no reason to refuse."""
    (tmp_path / "lost+found").mkdir()
    folder = opened(tmp_path)
    assert folder.header is None and (tmp_path / "node.json").is_file()
    folder.close()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file, or that nobody can make, is an error that names it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(HeroctlError, match="data"):
        opened(tmp_path / "file" / "data")
    with pytest.raises(FileFault, match="/proc/heroctl"):
        opened(Path("/proc/heroctl/data"))


def test_open_existing_makes_nothing(tmp_path: Path) -> None:
    """Offline commands on a wrong path say so and leave no folder behind."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError, match="is no data folder of HeroCtl"):
            DataFolder.open_existing(path)
    assert list(tmp_path.iterdir()) == []


# -- generations


def test_first_generation(tmp_path: Path) -> None:
    """Founding makes generation 1 with its log, and node.json names the cluster."""
    folder = reopened(founded(tmp_path / "data"))
    assert folder.header is not None
    assert folder.header.generation == 1
    assert folder.header.members.voters == set(ME)
    assert folder.identity.cluster_id == folder.header.cluster_id
    assert {path.name for path in folder.generation_folder.iterdir()} == {
        "dumps",
        "header.json",
        "log",
    }
    folder.close()


def test_joining_takes_over_the_header(tmp_path: Path) -> None:
    """A node that joins has the same cluster, lineage and first members, and a log of its own."""
    host, joiner = founded(tmp_path / "host"), opened(tmp_path / "joiner")
    assert host.header is not None
    joiner.adopt(host.header.to_value())
    again = reopened(joiner)
    assert again.header is not None
    assert again.header.origin == "join"
    assert (again.header.lineage, again.header.cluster_id) == (
        host.header.lineage,
        host.header.cluster_id,
    )
    host.close()
    again.close()


def test_lost_current_is_not_an_empty_folder(tmp_path: Path) -> None:
    """A node that belonged to a cluster never starts as new because CURRENT is gone."""
    folder = founded(tmp_path / "data")
    (folder.path / "CURRENT").unlink()
    folder.close()
    with pytest.raises(Damaged, match="CURRENT is missing, but this node belongs to a cluster"):
        opened(folder.path)


def test_lost_identity_is_not_an_empty_folder(tmp_path: Path) -> None:
    """Without node.json a folder with a generation is refused: nobody knows whose it is."""
    folder = founded(tmp_path / "data")
    (folder.path / "node.json").unlink()
    folder.close()
    with pytest.raises(Damaged, match=r"node\.json is missing, but the folder holds a generation"):
        opened(folder.path)


def test_generations_alone_are_not_an_empty_folder(tmp_path: Path) -> None:
    """Without node.json and CURRENT the generations are still data: nothing starts beside them."""
    folder = founded(tmp_path / "data")
    kept = folder.generation_folder / "header.json"
    for name in ("node.json", "CURRENT"):
        (folder.path / name).unlink()
    folder.close()
    with pytest.raises(Damaged, match=r"node\.json is missing, but the folder holds a generation"):
        opened(folder.path)
    assert kept.exists()
    assert not (folder.path / "node.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "does not hold the name") for text in ("", "../../etc", "a/b", "..", ".", "\n")),
        *((text, "does not hold the name") for text in ("\xff", "1", "1-", "-ab", "1-a\x1b[2J")),
        ("1-unknown", "header.json is missing"),
    ],
)
def test_current_that_names_nothing(tmp_path: Path, text: str, words: str) -> None:
    """CURRENT holds the name of a generation beside it, nothing else."""
    folder = founded(tmp_path / "data")
    (folder.path / "CURRENT").write_text(text)
    folder.close()
    with pytest.raises(Damaged, match=words):
        opened(folder.path)


def test_header_under_another_name(tmp_path: Path) -> None:
    """A generation's folder that was renamed does not pass for another one."""
    folder = founded(tmp_path / "data")
    folder.generation_folder.rename(folder.generations / "7-other")
    (folder.path / "CURRENT").write_text("7-other\n")
    folder.close()
    with pytest.raises(Damaged, match="CURRENT says 7-other"):
        opened(folder.path)


@pytest.mark.parametrize("file", ["node.json", "header.json"])
def test_newer_format(tmp_path: Path, file: str) -> None:
    """A folder of a newer release is refused with both numbers."""
    folder = founded(tmp_path / "data")
    place = folder.path if file == "node.json" else folder.generation_folder
    change_json(place / file, format=2)
    folder.close()
    with pytest.raises(UnsupportedVersion, match="has format 2, this release reads up to 1"):
        opened(folder.path)


@pytest.mark.parametrize("file", ["node.json", "header.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "\x00\x01"])
def test_damaged_json(tmp_path: Path, file: str, text: str) -> None:
    """A file that is cut or overwritten is named."""
    folder = founded(tmp_path / "data")
    place = folder.path if file == "node.json" else folder.generation_folder
    (place / file).write_text(text)
    folder.close()
    with pytest.raises(Damaged, match=file):
        opened(folder.path)


def test_copied_folder_with_other_rights_opens(tmp_path: Path) -> None:
    """Nothing secret is in these files: a copy made with cp is no reason to refuse."""
    folder = founded(tmp_path / "data")
    (folder.path / "node.json").chmod(0o644)
    (folder.generation_folder / "header.json").chmod(0o644)
    again = reopened(folder)
    assert (again.member_id, again.header) == (folder.member_id, folder.header)
    again.close()


# -- leaving


def test_quarantine_makes_a_new_member(tmp_path: Path) -> None:
    """The whole generation is put away by one rename; the folder is empty under a new id."""
    folder = founded(tmp_path / "data")
    name, old_id = folder.generation_folder.name, folder.member_id
    set_left(folder)
    path = folder.quarantine_generation()
    assert path == folder.path / "quarantine" / f"{name}-1"
    assert (path / "header.json").exists()
    again = reopened(folder)
    assert (again.header, again.identity.cluster_id) == (None, None)
    assert again.member_id == folder.member_id != old_id
    assert again.left_marks() == ((old_id, "newer"),)
    again.close()


def test_names_are_durable_before_current_changes(tmp_path: Path, names: Names) -> None:
    """Whatever a power cut undoes, CURRENT never names a generation that is not there, and is
    never gone while its generation is still in place."""
    folder = opened(tmp_path / "data")
    names.unsynced.clear()
    folder.found("prod", ME)
    folder.quarantine_generation()
    assert names.at_current == [set(), set()]
    assert names.unsynced == set()
    folder.close()


def test_quarantine_never_overwrites(tmp_path: Path) -> None:
    """A second generation of the same name gets the next counter."""
    folder = founded(tmp_path / "data")
    name = folder.generation_folder.name
    (folder.path / "quarantine" / f"{name}-1").mkdir()
    set_left(folder)
    assert folder.quarantine_generation().name == f"{name}-2"
    folder.close()


# -- marks


def test_marks_are_durable_and_can_be_cleared(tmp_path: Path) -> None:
    """A mark outlives the process that set it."""
    folder = founded(tmp_path / "data")
    folder.set_mark("frozen", {"reason": "forced bootstrap"})
    again = reopened(folder)
    mark = again.mark("frozen")
    assert mark is not None
    assert mark["reason"] == "forced bootstrap"
    again.clear_mark("frozen")
    last = reopened(again)
    assert last.mark("frozen") is None
    last.close()


def test_a_mark_of_another_generation_does_not_count(tmp_path: Path) -> None:
    """A folder that was restored beside a frozen or contested node is neither."""
    folder = founded(tmp_path / "data")
    for name in ("frozen", "contested"):
        folder.set_mark(name, {"reason": "then"})
    header = folder.header
    assert header is not None
    later = replace(header, lineage=(*header.lineage, Generation(2, "later")))
    path = folder.generations / later.folder_name
    path.mkdir()
    folder.write_header(path, later)
    folder.make_current(later)
    again = reopened(folder)
    assert (again.mark("frozen"), again.mark("contested")) == (None, None)
    again.close()


def test_suspect_folder_waits_for_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the node does not start in the same boot; in the next one it does, and
    the mark is gone."""
    folder = founded(tmp_path / "data")
    folder.mark_suspect("fsync: Input/output error")
    folder.close()
    for _ in range(2):
        with pytest.raises(NodeFault, match="suspect since a failed write: fsync: Input") as caught:
            opened(folder.path)
        assert "reboot" in str(caught.value.hint)
    monkeypatch.setattr(folder_module, "_boot_id", lambda: "another boot")
    again = opened(folder.path)
    assert again.mark("suspect") is None
    again.close()


def test_who_left_the_parent_is_remembered(tmp_path: Path) -> None:
    """Only voters of the parent that left for this very generation count."""
    folder = founded(tmp_path / "data")
    assert folder.header is not None
    value = folder.header.to_value()
    voters = {c * 32: {"name": c, "address": "", "voter": True} for c in "bcd"}
    parent = {"voters": voters, "last_term": 1, "last_index": 9}
    folder.adopt({**value, "lineage": [[1, "x"], [2, "mine"]], "parent": parent})
    folder.note_left((("b" * 32, "mine"), ("c" * 32, "other"), ("z" * 32, "mine")))
    again = reopened(folder)
    assert again.header is not None
    assert again.parent_voters_left() & again.header.parent_voters == {"b" * 32}
    again.close()


# -- what is kept


def test_spool_is_emptied_at_start(tmp_path: Path) -> None:
    """Files under way at the time of a crash are nobody's."""
    folder = opened(tmp_path / "data")
    (folder.spool / "half").mkdir()
    (folder.spool / "half" / "file").write_text("x")
    again = reopened(folder)
    assert list(again.spool.iterdir()) == []
    shutil.rmtree(again.spool)
    reopened(again).close()


@pytest.mark.parametrize(
    ("ages_d", "kept"),
    [
        ([1, 2, 3, 4, 5], 5),
        ([8, 9, 10], 3),
        ([8, 9, 10, 11, 12], 3),
        ([1, 2, 3, 4, 8], 4),
    ],
)
@pytest.mark.parametrize("where", ["generations", "quarantine"])
def test_old_ones_are_kept_long_enough(
    tmp_path: Path, where: str, ages_d: list[int], kept: int
) -> None:
    """At least three, and all of the last seven days; the newest first."""
    folder = founded(tmp_path / "data")
    for age in ages_d:
        path = folder.path / where / f"0-{age}"
        path.mkdir()
        os.utime(path, (time.time() - age * DAY_S,) * 2)
    again = reopened(folder)
    left = {path.name for path in (again.path / where).iterdir()}
    assert left - {again.generation_folder.name} == {f"0-{age}" for age in ages_d[:kept]}
    again.close()


def test_replaced_generation_counts_from_its_replacement(tmp_path: Path) -> None:
    """A generation that a restore replaced is young again: it was current a moment ago."""
    folder = founded(tmp_path / "data")
    assert folder.header is not None
    old = folder.generation_folder
    os.utime(old, (0, 0))
    for age in (8, 9, 10):
        (folder.generations / f"0-{age}").mkdir()
    folder.adopt({**folder.header.to_value(), "lineage": [[1, "x"], [2, "y"]]})
    again = reopened(folder)
    assert old.exists()
    again.close()


def test_time_counts_from_when_it_was_put_away(tmp_path: Path) -> None:
    """A generation that served for a year is kept for seven days after it was left."""
    folder = founded(tmp_path / "data")
    os.utime(folder.generation_folder, (0, 0))
    for age in (8, 9, 10):
        path = folder.path / "quarantine" / f"0-{age}"
        path.mkdir()
    set_left(folder)
    put_away = folder.quarantine_generation()
    again = reopened(folder)
    assert put_away.exists()
    again.close()
