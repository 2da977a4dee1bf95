"""When a restored generation is confirmed: by counting, by an operator, and never by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from heroctl_core.raft import fence
from heroctl_core.raft.fencing_words import unconfirmed
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.header import Header
from heroctl_core.raft.membership import EMPTY, Configuration, MemberSpec
from heroctl_core.raft.port import Generation
from heroctl_core.raft.presence import Left

ME, B, C = "a" * 32, "b" * 32, "c" * 32


def voters(*members: str) -> Configuration:
    return Configuration({m: MemberSpec(f"node-{m[0]}", f"{m[0]}:1", voter=True) for m in members})


HEADER = Header(
    "c" * 32,
    "prod",
    (Generation(1, "first"), Generation(2, "second")),
    voters(ME),
    "restore",
    "2026-01-01T00:00:00Z",
    parent=voters(ME, B, C),
)

Make = Callable[[Header], DataFolder]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A folder of the member ME whose current generation has that header."""
    folder = DataFolder.open(tmp_path / "node", node_name="node-a", cluster_name="prod")

    def make_folder(header: Header) -> DataFolder:
        place = folder.generations / header.folder_name
        place.mkdir()
        folder.write_header(place, header)
        folder.make_current(header)
        return folder

    yield make_folder
    folder.close()


def test_a_majority_of_the_voters_before_confirms(make: Make) -> None:
    """The restored node is one of them; a mark for another restore does not count."""
    folder = make(HEADER)
    assert not fence.is_confirmed(folder)
    said = unconfirmed(HEADER, folder.parent_voters_left())
    assert "generation 1 these did not leave it yet: node-b, node-c. Start them" in said
    folder.note_left(((B, "another"),))
    assert not fence.is_confirmed(folder)
    folder.note_left(((B, "second"),))
    assert fence.is_confirmed(folder)


def test_a_second_restore_names_the_generation_that_is_fenced() -> None:
    """Its voters are of before the first one: nodes of their names may serve with other disks."""
    header = replace(HEADER, lineage=(*HEADER.lineage, Generation(3, "third")))
    said = unconfirmed(header, frozenset({ME}))
    assert "the last confirmed generation before 3 these did not leave it yet: node-b" in said
    assert "with the disks that they had then" in said and "--others-destroyed" in said


@pytest.mark.parametrize(
    ("header", "confirmed"),
    [
        (replace(HEADER, lineage=HEADER.lineage[:1], parent=EMPTY), True),  # nothing before it
        (replace(HEADER, parent=voters(ME)), True),  # it was the only voter
        (replace(HEADER, parent=EMPTY), False),  # restored into an empty folder
    ],
)
def test_without_others_before(make: Make, header: Header, confirmed: bool) -> None:
    """An unknown past is no empty one."""
    folder = make(header)
    assert fence.is_confirmed(folder) is confirmed
    if not confirmed:
        assert "not known who voted" in unconfirmed(header, folder.parent_voters_left())


def test_an_operator_confirms_one_generation_only(make: Make) -> None:
    """Durably; the next restore begins anew."""
    folder = make(HEADER)
    fence.confirm(folder, "destroyed")
    assert fence.is_confirmed(folder)
    link = Generation(3, "third")
    make(replace(HEADER, lineage=(*HEADER.lineage, link)))
    assert not fence.is_confirmed(folder)


def test_what_an_empty_folder_promised(make: Make) -> None:
    """Whom it left and for whom; a folder that serves a generation promises nothing."""
    folder = make(HEADER)
    mark = {"generation": 1, "restore_id": "first", "member_id": ME, "yielded": True}
    folder.set_mark("left", mark)
    assert fence.promise(folder) is None
    folder.quarantine_generation()
    assert fence.promise(folder) == Left("second", "first", yielded=True)
