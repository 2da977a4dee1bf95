"""manifest.json and the strict JSON below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from heroctl_core.errors import Damaged, UnsupportedVersion
from heroctl_core.snapshot.manifest import (
    SECTIONS,
    Encryption,
    Manifest,
    ManifestHeader,
    SectionEntry,
    parse_manifest,
)
from heroctl_core.snapshot.strict_json import dump_json, load_json
from heroctl_core.state.rows import KINDS

ENTRIES = tuple(SectionEntry(name, 3, 1) for name in SECTIONS)


@pytest.fixture
def manifest(make_header: Callable[..., ManifestHeader]) -> Manifest:
    """A good one, of whole seconds."""
    header = make_header(created_ms=1_777_172_400_000, stale=True, lineage=((1, "a"), (2, "b")))
    return Manifest(header, ENTRIES, Encryption("0" * 64))


@pytest.mark.parametrize("encryption", [None, Encryption("ab" * 32)])
def test_what_is_written_is_read(manifest: Manifest, encryption: Encryption | None) -> None:
    """The same value comes back, and equal manifests have equal bytes."""
    whole = Manifest(manifest.header, ENTRIES, encryption)
    assert parse_manifest(whole.to_json(), "here") == whole
    assert parse_manifest(whole.to_json(), "here").to_json() == whole.to_json()


def test_the_sections_are_the_kinds_of_the_state(manifest: Manifest) -> None:
    """In the same order, with digests behind them: no kind is forgotten in a backup."""
    assert tuple(SECTIONS) == (*KINDS, "digests")
    assert manifest.member_name(1) == "sections/01-keyring"
    assert manifest.member_name(8) == "sections/08-digests"


def test_unknown_fields_are_ignored(manifest: Manifest) -> None:
    """A later release may add what does not change the meaning."""
    tree = json.loads(manifest.to_json())
    tree["comment"] = {"ratio": 0.5}
    assert parse_manifest(json.dumps(tree).encode(), "here") == manifest


def walk(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for step, value in items:
        found.append((*path, step))
        if isinstance(value, dict | list):
            found += walk(value, (*path, step))
    return found


@pytest.mark.parametrize("value", [None, "", "x", -1, 2**63, 1.5, True, [], {}, [[]]])
def test_any_field_with_another_value(manifest: Manifest, value: object) -> None:
    """It is a value of the right kind, or the manifest is refused; there is no other error."""
    good = json.loads(manifest.to_json())
    for path in walk(good):
        tree = json.loads(manifest.to_json())
        place = tree
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        try:
            read = parse_manifest(json.dumps(tree).encode(), "here")
        except (Damaged, UnsupportedVersion) as error:
            assert error.message.startswith("here: ")
        else:
            assert json.loads(read.to_json()) == tree


def test_any_field_left_out(manifest: Manifest) -> None:
    """Every field is needed."""
    for path in walk(json.loads(manifest.to_json())):
        tree = json.loads(manifest.to_json())
        place = tree
        for step in path[:-1]:
            place = place[step]
        if isinstance(place, dict):
            del place[path[-1]]
            with pytest.raises(Damaged, match="here: "):
                parse_manifest(json.dumps(tree).encode(), "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not strict JSON"),
        (b"{}{}", "not strict JSON"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"\xef\xbb\xbf{}", "not strict JSON"),
        (b'{"a": "\xff"}', "not strict JSON"),
        ('{"a": 1}'.encode("utf-16"), "not strict JSON"),
        (b'{"a": 1, "a": 1}', "there twice"),
        (b'{"a": {"b": 1, "b": 2}}', "there twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not strict JSON"),
        (b'{"a": ' + b"[" * 100_000, "not strict JSON"),
        (b" " * 2**20 + b"{}", "more than 1048576"),
    ],
)
def test_json_that_is_not_strict(text: bytes, words: str) -> None:
    """All that two parsers could read in two ways is refused."""
    with pytest.raises(ValueError, match=words):
        load_json(text)


def test_the_largest_json() -> None:
    """Exactly 1 MiB is read."""
    assert load_json(b"{}".ljust(2**20)) == {}


def test_json_of_ours() -> None:
    """It is UTF-8, ends with a line feed and has no infinity."""
    assert dump_json({"größe": 1}) == '{\n  "größe": 1\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json({"a": float("inf")})
