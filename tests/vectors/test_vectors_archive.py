"""Readers of every release get these files right: good ones open, damaged ones fail where they
must, and nothing of a damaged one is ever given out."""

from __future__ import annotations

from pathlib import Path

import pytest
from make import BAD, FOLDER, GOOD, STAGES, Case
from vector_parts import HEADER, KEY, KEYRING, rows_of

from heroctl_core import errors
from heroctl_core.codec import unpack
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.snapshot.archive import open_archive, outline

OUTSIDE = STAGES[: STAGES.index("chunk")]  # found before anything is decoded


def read_all(path: Path) -> None:
    """Opens and verifies an archive in the way that a restore does."""
    with open_archive(path, [KEY]) as archive:
        for entry in archive.manifest.sections:
            list(archive.records(entry.name))


@pytest.mark.parametrize("what", GOOD)
def test_a_good_archive_opens(what: str) -> None:
    """Every record comes out as it went in."""
    path = FOLDER / f"good-{what}.tar.gz"
    assert outline(path).manifest.header == HEADER
    with open_archive(path, [KEY], allow_unencrypted=what == "unencrypted") as archive:
        rows = {
            entry.name: list(archive.records(entry.name)) for entry in archive.manifest.sections
        }
        assert archive.audit_head() == (bytes(range(32)) if what == "audit-head" else b"")
    expected = rows_of(keyring=rows["keyring"][0][1])
    assert {name: rows[name] for name in expected} == expected
    assert rows.get("ext-billing") == ([("invoice/1", b"\x01")] if what == "extension" else None)


def test_the_secrets_of_a_good_archive_open() -> None:
    """Archive and backup key are enough to open a sealed secret."""
    with open_archive(FOLDER / "good-encrypted.tar.gz", [KEY]) as archive:
        [(_, exported)] = archive.records("keyring")
        [(name, row)] = archive.records("secrets")
    assert Keyring.load(exported) == KEYRING
    assert Keyring.load(exported).open(name, unpack(row)["sealed"]) == b"correct horse"


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.file_name)
def test_a_damaged_archive_is_refused_at_its_stage(case: Case) -> None:
    """The right error, with the words that name the place, while opening or while verifying."""
    kind = getattr(errors, case.error)
    path = FOLDER / case.file_name
    if case.stage in OUTSIDE:
        with pytest.raises(errors.ArchiveError) as caught:
            open_archive(path, [KEY])
    else:
        with open_archive(path, [KEY]) as archive, pytest.raises(errors.ArchiveError) as caught:
            archive.verify()
    assert type(caught.value) is kind
    assert case.words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.file_name)
def test_nothing_of_a_damaged_archive_is_given_out(case: Case) -> None:
    """Not one record of any section comes before the error, also without asking to verify."""
    with pytest.raises(errors.ArchiveError):
        for section in ("keyring", "jobs", "secrets", "digests"):
            with open_archive(FOLDER / case.file_name, [KEY]) as archive:
                next(archive.records(section))
                pytest.fail("a record came out")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.file_name)
def test_the_maker_still_makes_it(case: Case, tmp_path: Path) -> None:
    """An archive made today fails like the one that was committed."""
    path = tmp_path / case.file_name
    path.write_bytes(case.make())
    with pytest.raises(getattr(errors, case.error)):
        read_all(path)


def test_every_file_has_a_case() -> None:
    """No archive in this folder is forgotten, and every stage has some."""
    named = {f"good-{what}.tar.gz" for what in GOOD} | {case.file_name for case in BAD}
    assert {path.name for path in FOLDER.glob("*.tar.gz")} == named
    assert {case.stage for case in BAD} == set(STAGES)
