"""docs/operations.md and docs/troubleshooting.md against the code: codes, reasons, server.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from heroctl_core.config.load import Loaded, load_with_origins
from heroctl_core.config.model import Config
from heroctl_core.errors import REJECT_REASONS, CommandRejected, HeroctlError

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
CODE_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]*)\|$", re.MULTILINE)
REASON = re.compile(r"`([a-z_]+)` (\d{3})")


def errors_of_the_code() -> dict[str, tuple[int, int]]:
    """Reason → exit code and HTTP status, of every error class and of every refusal."""
    found = dict(REJECT_REASONS)
    waiting: list[type[HeroctlError]] = [HeroctlError]
    while waiting:
        kind = waiting.pop()
        waiting += [c for c in kind.__subclasses__() if c.__module__ == HeroctlError.__module__]
        if kind is not CommandRejected:
            found[kind.reason] = (kind.exit_code, kind.http_status)
    return found


def test_the_table_of_exit_codes_is_complete() -> None:
    """Each reason stands in the row of its exit code, with its status, and nowhere else."""
    listed = [
        (reason, (int(code), int(status)))
        for code, _, reasons in CODE_ROW.findall(OPERATIONS)
        for reason, status in REASON.findall(reasons)
    ]
    assert len(listed) == len(dict(listed)), "a reason is listed twice"
    assert dict(listed) == errors_of_the_code()


def test_every_reason_has_its_way_out() -> None:
    """Troubleshooting has one entry for each reason, and none for a reason that does not exist."""
    entries = re.findall(r"^\*\*`([a-z_]+)`\*\*", TROUBLESHOOTING, re.MULTILINE)
    assert len(entries) == len(set(entries)), "an entry is there twice"
    assert set(entries) == errors_of_the_code().keys()


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """The example of server.yaml, read as `heroctl config check` reads it."""
    found = re.search(r"^```yaml server\.yaml\n(.*?)^```$", OPERATIONS, re.DOTALL | re.MULTILINE)
    assert found is not None
    path = tmp_path / "server.yaml"
    path.write_text(found[1], encoding="utf-8")
    path.chmod(0o600)
    return load_with_origins(path)


def test_the_example_of_server_yaml_is_accepted(loaded: Loaded) -> None:
    """It has no mistake; its warnings are only about what this version does not do yet."""
    assert all(w.endswith("has no effect in this version") for w in loaded.warnings)
    assert loaded.config.node.name == "node-1"


def test_the_example_has_every_key(loaded: Loaded) -> None:
    """Each key that server.yaml may have stands in the example at least once."""
    given = {re.sub(r"\[\d+\]", "", key) for key in loaded.origins}
    missing = [key for key in keys_of(Config) if not any(matches(key, g) for g in given)]
    # An empty list has no value in it, so it has no place of its own.
    assert missing == ["backup.encryption_recipients"]
    assert "encryption_recipients: []" in OPERATIONS


def keys_of(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Every key of a block and of the blocks in it; `*` for names that the operator chooses."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = {"jitter_s": "jitter"}.get(field.name, field.name)
        hint = hints[field.name]
        inner = next((a for a in (hint, *get_args(hint)) if is_dataclass(a)), None)
        star = ".*" if "Mapping" in str(hint) else ""
        if inner is not None and isinstance(inner, type) and inner.__name__ != "Secret":
            yield from keys_of(inner, f"{prefix}{name}{star}.")
        else:
            yield f"{prefix}{name}{star}"


def matches(key: str, given: str) -> bool:
    """Whether a key of the file is this key."""
    return re.fullmatch(re.escape(key).replace(r"\*", r"[^.]+"), given) is not None
