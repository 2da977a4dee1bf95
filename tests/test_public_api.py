"""The public surface: what it has, and what loading it must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import heroctl_core

HEAVY = (
    *("aiohttp", "boto3", "botocore", "click", "prometheus_client"),
    *("pydantic", "pysyncobj", "rich", "yaml"),
)


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def place(name: str) -> tuple[bool, bool, str]:
    """The order of ruff's RUF022: constants, then classes, then the rest, each by the alphabet."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_names_are_sorted_and_appear_once() -> None:
    """`__all__` is sorted, so that a new name has one place and a double one is seen."""
    assert list(heroctl_core.__all__) == sorted(set(heroctl_core.__all__), key=place)


def test_the_three_lists_agree() -> None:
    """What type checkers see, what is loaded and what is promised are the same names."""
    tree = ast.parse(Path(heroctl_core.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == heroctl_core._HOMES
    assert set(typed) == set(heroctl_core.__all__)


@pytest.mark.parametrize("name", heroctl_core.__all__)
def test_every_name_resolves(name: str) -> None:
    """Each promised name can be loaded, and `dir` shows it."""
    assert getattr(heroctl_core, name) is not None
    assert name in dir(heroctl_core)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="Contrl"):
        _ = heroctl_core.Contrl


@pytest.mark.parametrize("heavy", HEAVY)
def test_import_is_light(heavy: str) -> None:
    """`import heroctl_core` loads no library of the server, the command line or the storages."""
    assert heavy not in loaded_after("import heroctl_core")


def test_the_look_at_loaded_modules_can_fail() -> None:
    """The probe of this file does see a library that was loaded."""
    assert "yaml" in loaded_after("import yaml")
