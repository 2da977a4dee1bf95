"""The public surface: what it has, and what loading it must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import heroctl_core

# Of the server, the command line and the storages; an embedded node needs none of them.
HEAVY = ("aiohttp", "boto3", "botocore", "click", "prometheus_client", "pydantic", "rich", "yaml")
EMBEDDED = """
from heroctl_core import ControlPlane
with ControlPlane.open(data_dir={folder!r}) as cp:
    cp.jobs.put("web", {{"image": "shop/web:2", "replicas": 3}}, expect=0)
    cp.secrets.put("db-password", b"fake")
    assert cp.jobs.get("web").spec["replicas"] == 3
"""


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


def test_import_is_light() -> None:
    """`import heroctl_core` loads no library at all, not even the engine's."""
    loaded = loaded_after("import heroctl_core")
    assert "heroctl_core" in loaded
    assert not loaded & {*HEAVY, "cryptography", "msgpack", "pysyncobj", "zstandard"}


def test_an_embedded_node_is_light(tmp_path: Path) -> None:
    """A node without peers and socket, written to and read, loads none of the heavy libraries."""
    loaded = loaded_after(EMBEDDED.format(folder=str(tmp_path / "state")))
    assert "pysyncobj" in loaded
    assert not loaded & {*HEAVY}


def test_the_look_at_loaded_modules_can_fail() -> None:
    """The probe of this file does see a library that was loaded."""
    assert "yaml" in loaded_after("import yaml")
