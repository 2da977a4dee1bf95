"""The walls of the house: who may import whom, and which library comes in through which door.

The table is that of docs/architecture.md. A module imports from its own row or from a row above
(a smaller number); each third-party library is imported in one place.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Row number, its modules. The first pattern that fits counts, so a named module comes before the
# rest of its folder. The rest of raft/ and config/ are adapters, which nearly nobody may import.
# backup/ and recovery/ mix pure parts and services and have no rest: whoever adds one decides.
ROWS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("errors", "clock", "limits", "codec", "version", "words", "config.model")),
    (1, ("state.*",)),
    (2, ("crypto.*", "files", "local_socket", "mounts", "problems")),
    (2, ("raft.guard", "raft.handshake", "raft.greeting", "raft.membership")),
    (2, ("raft.elections", "raft.frames", "raft.entry_time", "raft.freshness", "raft.grouping")),
    (2, ("raft.compatibility", "raft.left_behind", "raft.presence")),
    (2, ("snapshot.manifest", "snapshot.strict_json")),
    (3, ("snapshot.*", "recovery.compare", "recovery.content")),
    (3, ("recovery.facts", "recovery.plan", "recovery.refusals")),
    (3, ("backup.schedule", "backup.retention", "backup.catalog", "backup.alerts")),
    (4, ("raft.port", "recovery.port", "backup.storage.base", "backup.channels.base")),
    (5, ("raft.*", "config.*", "backup.storage.*", "backup.channels.*", "client")),
    (6, ("catalogue.*", "backup.save", "backup.run", "backup.verify", "backup.scheduler")),
    (6, ("recovery.restore", "recovery.fencing", "recovery.undo", "recovery.drill")),
    (7, ("server.*",)),
    (
        8,
        (
            "control_plane",
            "duties",
            "lifecycle",
            "node_keys",
            "offline",
            "testing",
            "testing.*",
            "heroctl_core",
        ),
    ),
    (9, ("heroctl_cli", "heroctl_cli.*")),
)
PORTS, ADAPTERS, SERVICES, SERVER = 4, 5, 6, 7

# Library → the modules that may import it, at the top or inside a function.
DOORS: dict[str, tuple[str, ...]] = {
    "aiohttp": ("server.http",),
    "apprise": ("backup.channels.apprise",),
    "boto3": ("backup.storage.s3",),
    "botocore": ("backup.storage.s3",),
    "click": ("heroctl_cli.*",),
    "croniter": ("backup.schedule",),
    "cryptography": ("crypto.*",),
    "msgpack": ("codec",),
    "prometheus_client": ("server.metrics",),
    "pydantic": ("config.schema", "config.load", "config.explain"),
    "pydantic_core": ("config.explain",),
    "pysyncobj": ("raft.engine",),
    "rich": ("heroctl_cli.*",),
    "yaml": ("config.documents",),
    "zstandard": ("snapshot.sections",),
}

# What would make two machines that apply the same commands differ, or wait.
BANNED_IN_STATE = {
    *("asyncio", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "select", "shutil", "socket", "subprocess", "tempfile", "threading", "time"),
    "uuid",
}
BANNED_CALLS_IN_STATE = {"open", "print", "input", "id", "hash", "SystemClock"}
BANNED_EVERYWHERE = {"pickle", "cPickle", "dill", "marshal", "shelve"}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and its line. `target` is a module of ours or a library's name."""

    target: str
    line: int
    ours: bool


def module_name(path: Path) -> str:
    """`raft.engine` for heroctl_core/raft/engine.py; a folder's `__init__` is the folder's name."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if len(parts) > 1 and parts[0] == "heroctl_core":
        parts.pop(0)
    return ".".join(parts)


def sources() -> dict[str, tuple[Path, str]]:
    """Module name → path and source text of every module of both packages."""
    tops = (ROOT / "heroctl_core", ROOT / "heroctl_cli")
    paths = [path for top in tops for path in sorted(top.rglob("*.py"))]
    return {module_name(path): (path, path.read_text(encoding="utf-8")) for path in paths}


def row_of(module: str) -> int | None:
    """The row of a module, None when it is in no row."""
    for row, patterns in ROWS:
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return row
    return None


def imports(module: str, source: str, known: set[str], *, is_package: bool) -> Iterator[Import]:
    """Every import of a module, also the ones inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _import(alias.name, None, node.lineno, known)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node, is_package=is_package)
            for alias in node.names:
                yield _import(base, alias.name, node.lineno, known)


def _absolute(module: str, node: ast.ImportFrom, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    outside = module.startswith(("heroctl_cli", "heroctl_core"))
    parts = (module if outside else f"heroctl_core.{module}").split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *(node.module or "").split(".")]).rstrip(".")


def _import(base: str, name: str | None, line: int, known: set[str]) -> Import:
    top = base.split(".", 1)[0]
    if top not in ("heroctl_core", "heroctl_cli"):
        return Import(base if name is None else f"{base}.{name}", line, ours=False)
    inner = base.removeprefix("heroctl_core.")
    if name is not None and (deeper := f"{inner}.{name}".removeprefix("heroctl_core.")) in known:
        return Import(deeper, line, ours=True)
    return Import(inner, line, ours=True)


def problems(module: str, source: str, known: set[str], *, is_package: bool = False) -> list[str]:
    """What is wrong with one module, one line each; empty when it keeps to the walls."""
    row = row_of(module)
    if row is None:
        if is_package and not ast.unparse(_without_docstring(source)):
            return []  # the empty __init__ of a folder
        return [f"{module} is in no row: decide in ROWS of tests/test_architecture.py"]
    found: list[str] = []
    for item in imports(module, source, known, is_package=is_package):
        where = f"{module}:{item.line}"
        if item.ours:
            found += [f"{where} {text}" for text in _wall(module, row, item.target)]
        else:
            found += [f"{where} {text}" for text in _door(module, row, item.target)]
    if row == 1:
        found += [f"{module}:{line} {text}" for line, text in _impure(source)]
    return found


def _without_docstring(source: str) -> ast.Module:
    tree = ast.parse(source)
    if ast.get_docstring(tree) is not None:
        tree.body.pop(0)
    return tree


def _wall(module: str, row: int, target: str) -> Iterator[str]:
    other = row_of(target)
    if other is None:
        return  # in no row, which is a sentence of its own; or a folder without content
    if other > row:
        yield f"(row {row}) imports {target} (row {other}): only the own row or one above"
    if row in (SERVICES, SERVER) and other == ADAPTERS:
        yield f"imports the adapter {target}: services know ports, control_plane picks adapters"
    if module.startswith("heroctl_cli") and target.startswith(("state.", "raft.")):
        yield f"imports {target}: the command line uses the public surface and the client"


def _door(module: str, row: int, target: str) -> Iterator[str]:
    top = target.split(".", 1)[0]
    if BANNED_EVERYWHERE & set(target.split(".")):
        yield f"imports {target}: nothing is ever unpickled"
    if top in sys.stdlib_module_names:
        if row == 1 and top in BANNED_IN_STATE:
            yield f"imports {top}: state/ is a function from values to values"
        return
    if top not in DOORS:
        yield f"imports {top}, a library without a door: name its one module in DOORS"
    elif not any(fnmatchcase(module, pattern) for pattern in DOORS[top]):
        yield f"imports {top}, whose door is {' '.join(DOORS[top])}"


def _impure(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in BANNED_CALLS_IN_STATE:
            yield node.lineno, f"uses {node.id}: no clock, no I/O, no hash of this process"


def test_every_module_keeps_to_the_walls_and_doors() -> None:
    """Every module stands in a row, imports downward never, and libraries only at their door."""
    known = sources()
    found = [
        problem
        for module, (path, source) in known.items()
        for problem in problems(module, source, set(known), is_package=path.stem == "__init__")
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_table_names_no_module_twice() -> None:
    """A module stands in one row only; a second entry would be dead."""
    named = [pattern for _, patterns in ROWS for pattern in patterns]
    assert len(named) == len(set(named))


KNOWN = {"errors", "codec", "state.jobs", "raft", "raft.port", "raft.engine", "catalogue.jobs"}


@pytest.mark.parametrize(
    ("module", "line", "words"),
    [
        ("state.jobs", "import time", "values to values"),
        ("state.jobs", "def f():\n    from random import choice", "values to values"),
        ("state.jobs", "def f():\n    return open('x')", "no I/O"),
        ("state.jobs", "from ..raft.port import Mode", "only the own row"),
        ("errors", "from .catalogue import jobs", "only the own row"),
        ("catalogue.jobs", "from ..raft.engine import Engine", "services know ports"),
        ("server.http", "from ..raft import engine", "services know ports"),
        ("raft.log", "import pysyncobj.journal", "whose door is raft.engine"),
        ("control_plane", "def f():\n    import boto3", "whose door is backup.storage.s3"),
        ("codec", "from pickle import loads", "unpickled"),
        ("raft.engine", "import pysyncobj.pickle", "unpickled"),
        ("client", "import requests", "without a door"),
        ("heroctl_cli.main", "from heroctl_core.raft.engine import Engine", "public surface"),
        ("recovery.surprise", "", "in no row"),
    ],
)
def test_a_breach_is_found(module: str, line: str, words: str) -> None:
    """Each kind of breach gives exactly one sentence that says what to do."""
    found = problems(module, line, KNOWN)
    assert len(found) == 1, found
    assert words in found[0]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("state.jobs", "import hashlib\nfrom ..errors import ConfigError"),
        ("raft.engine", "from pysyncobj import SyncObj\nfrom .port import Mode"),
        ("catalogue.jobs", "from ..raft.port import Mode"),
        ("control_plane", "from .raft.engine import Engine"),
        ("heroctl_cli.main", "import click\nfrom heroctl_core.errors import UsageError"),
    ],
)
def test_what_is_allowed_is_not_a_breach(module: str, line: str) -> None:
    """The wall has gates: allowed imports give no sentence."""
    assert problems(module, line, KNOWN) == []
