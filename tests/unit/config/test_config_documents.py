"""YAML and JSON texts become plain values; what YAML would twist is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heroctl_core.config.documents import read_documents, text_of, values_of
from heroctl_core.errors import ConfigError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=20,
)


def test_documents_and_lists_are_read_alike() -> None:
    """One document, a list, or several documents: always the same stream of values."""
    assert list(values_of("a: 1", name="f")) == [{"a": 1}]
    assert list(values_of("- a: 1\n- b: 2", name="f")) == [{"a": 1}, {"b": 2}]
    assert list(values_of("a: 1\n---\n---\n- b: 2", name="f")) == [{"a": 1}, {"b": 2}]


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_is_read_as_it_is(value: dict[str, object]) -> None:
    """Whatever json writes comes back, escapes included."""
    text = json.dumps(value).replace("/", "\\/")
    read = list(values_of(text, name="f"))
    assert read == [value]


def test_a_bare_time_stands_for_its_text() -> None:
    """`expires: 2027-01-01T00:00:00Z` needs no quotes in a document; a configuration refuses it."""
    assert list(values_of("t: 2027-01-01T00:00:00Z", name="f")) == [{"t": "2027-01-01T00:00:00Z"}]
    (document,) = read_documents("t: 2027-01-01", name="f")
    assert "quote this" in document.problems[0][2]


@pytest.mark.parametrize("scalar", ["1:30", "017", "0x1F", "0b1", ".inf", ".nan", "on", "Off", "="])
def test_what_yaml_would_twist_is_refused(scalar: str) -> None:
    """A port written 1:30 must not become 90."""
    with pytest.raises(ConfigError, match=r"f:1:4: a: "):
        list(values_of(f"a: {scalar}", name="f"))


def test_every_problem_of_every_document_is_told() -> None:
    """One run shows all."""
    with pytest.raises(ConfigError) as caught:
        list(values_of("a: NO\n---\n- b: 017\n- {1: x}", name="f"))
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [
        "f:1:4", "f:3:6", "f:4:4",
    ]  # fmt: skip


def test_a_deep_text_is_refused_without_a_crash() -> None:
    """A hostile file costs an error message, not the interpreter's stack."""
    with pytest.raises(ConfigError, match="nested deeper"):
        list(values_of("[" * 40 + "]" * 40, name="f"))
    with pytest.raises(ConfigError):
        list(values_of("[" * 100_000, name="f"))


def test_what_is_no_text_is_refused() -> None:
    """A binary file that was given by mistake is an error that names it."""
    with pytest.raises(ConfigError, match=r"^f: no YAML: unacceptable character #x0000"):
        list(values_of("a: \0", name="f"))


def test_a_duplicate_key_in_json_is_refused_with_its_place() -> None:
    """JSON's own reader would keep the last one."""
    with pytest.raises(ConfigError, match=r"f:2:2: a: duplicate key, first in line 1"):
        list(values_of('{"a": 1,\n "a": 2}', name="f"))


def test_a_file_without_text_is_told_in_the_systems_words(tmp_path: Path) -> None:
    """Missing, a folder, or bytes that are no text: one line, without Python's own words."""
    (tmp_path / "binary").write_bytes(b"a: \xff")
    for name, words in (
        ("missing", "no such file or directory"),
        ("", "is a directory"),
        ("binary", "byte 3 is no UTF-8"),
    ):
        with pytest.raises(ConfigError) as caught:
            text_of(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {words}"
