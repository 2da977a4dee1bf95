"""Documents that a user writes – YAML or JSON – checked as far as the command line can.

A document has a `kind`; what else it needs is decided by the node that takes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from heroctl_core.client import path_of
from heroctl_core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

# In the order in which they can be put: a token names policies, an ingress route names a job.
KINDS: Final = ("node", "policy", "token", "job", "secret", "ingress", "metrics")
PLURALS: Final = {
    "node": "nodes",
    "policy": "policies",
    "token": "tokens",
    "job": "jobs",
    "secret": "secrets",
    "ingress": "ingress routes",
    "metrics": "metric series",
}
_COLLECTIONS: Final = {
    "node": ("nodes",),
    "policy": ("acl", "policies"),
    "token": ("acl", "tokens"),
    "job": ("jobs",),
    "secret": ("secrets",),
    "ingress": ("ingress",),
    "metrics": ("metrics",),
}
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Document:
    """One document and the file it came from."""

    file: str
    kind: str
    name: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


def source_option(*, metavar: str) -> Callable[[F], F]:
    """Adds -f, which says where the documents are."""
    help_text = "YAML or JSON: one document, a list, or several with --- between; - is stdin."
    return click.option("-f", "--file", "source", required=True, metavar=metavar, help=help_text)


def collection(kind: str) -> str:
    """The API path of all resources of a kind."""
    return path_of(*_COLLECTIONS[kind])


def watched(kind: str) -> str:
    """The name under which all resources of a kind are watched."""
    return _COLLECTIONS[kind][-1]


def place(kind: str, name: str) -> str:
    """The API path of one resource."""
    return path_of(*_COLLECTIONS[kind], name)


def read_all(source: str, *, kind: str | None = None) -> list[Document]:
    """The documents of a file, of every YAML and JSON file below a folder, or of stdin (`-`).

    With `kind`, a document may leave its kind out and must not have another. ConfigError lists
    every mistake of every file.
    """
    found: list[Document] = []
    mistakes: list[str] = []
    for name, text in _texts(source):
        try:
            found += _documents(name, text, kind)
        except ConfigError as error:
            mistakes.append(error.message)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    if not found:
        raise ConfigError(f"{'stdin' if source == '-' else source}: no document in it")
    return found


def _texts(source: str) -> Iterator[tuple[str, str]]:
    """Name and text of every file."""
    from heroctl_core.config.documents import text_of

    if source == "-":
        yield "stdin", sys.stdin.read()
        return
    top = Path(source)
    paths = [top]
    if top.is_dir():
        paths = sorted(p for p in top.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
    for path in paths:
        yield str(path), text_of(path)


def _documents(name: str, text: str, wanted: str | None) -> list[Document]:
    from heroctl_core.config.documents import values_of

    found: list[Document] = []
    mistakes: dict[str, list[int]] = {}
    for number, value in enumerate(values_of(text, name=name), 1):
        try:
            found.append(_document(name, value, wanted))
        except ValueError as error:
            mistakes.setdefault(str(error), []).append(number)
    if mistakes:
        raise ConfigError(
            "\n".join(f"{name}: {_which(where)}: {what}" for what, where in mistakes.items())
        )
    return found


def _which(numbers: list[int]) -> str:
    """The documents with one mistake: whoever gives the wrong folder has it in all of them."""
    more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"document {numbers[0]}{more}"


def _document(file: str, value: object, wanted: str | None) -> Document:
    """One checked document; ValueError says what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError("must be a mapping with the key kind")
    kind = value.get("kind", wanted)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if wanted is not None and kind != wanted:
        raise ValueError(f"kind is {kind}; this command takes {wanted} only, apply takes all")
    key = "series" if kind == "metrics" else "name"
    name = value.get(key)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{kind}: {key} is {name!r}; allowed: text that is not empty")
    return Document(file, kind, name, {**value, "kind": kind})
