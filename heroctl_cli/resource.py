"""The commands that every kind of resource has: list, get, put, delete, watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from heroctl_core.client import Client
from heroctl_core.errors import (
    Compacted,
    EpochChanged,
    HeroctlError,
    NodeFault,
    Unreachable,
    UsageError,
    WatchEnded,
)
from heroctl_core.words import counted

from . import connection, documents, output

# A column: its heading, and what it shows of one resource.
Column = tuple[str, Callable[[dict[str, Any]], object]]


def group(kind: str, summary: str, columns: Sequence[Column]) -> click.Group:
    """A group with list, get, put, delete and watch for the resources of `kind`."""
    commands = [_list(kind, columns), _get(kind), _put(kind), _delete(kind), _watch(kind)]
    return click.Group(name=kind, help=summary, commands=commands)


def _list(kind: str, columns: Sequence[Column]) -> click.Command:
    @click.command("list", help=f"All {documents.PLURALS[kind]}, sorted.")
    @click.option("--prefix", default="", help="Only names that begin with this.")
    @connection.online
    def run(addr: str | None, prefix: str) -> None:
        with connection.connect(addr) as client:
            items = all_items(client, kind, prefix=prefix)
        output.emit(
            items,
            text=lambda: output.table(
                [heading for heading, _ in columns],
                [[show(item) for _, show in columns] for item in items],
            ),
        )

    return run


def all_items(client: Client, kind: str, *, prefix: str = "") -> list[dict[str, Any]]:
    """Every resource of a kind, page by page."""
    items: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        query = {"prefix": prefix or None, "after": after}
        page = connection.read(client, documents.collection(kind), query).body
        items += page["items"]
        after = page["next"]
        if after is None:
            return items


def _get(kind: str) -> click.Command:
    @click.command("get", help=f"One {kind}, as a document that `put` takes again.")
    @click.argument("name")
    @connection.online
    def run(addr: str | None, name: str) -> None:
        with connection.connect(addr) as client:
            output.emit(connection.read(client, documents.place(kind, name)).body)

    return run


def _put(kind: str) -> click.Command:
    @click.command("put", help=f"Write {documents.PLURALS[kind]} from a file; - is stdin.")
    @documents.source_option(metavar="FILE|-")
    @click.option("--expect", type=click.IntRange(min=0), help="The revision seen; 0: new.")
    @connection.online
    def run(addr: str | None, source: str, expect: int | None) -> None:
        found = documents.read_all(source, kind=kind)
        if expect is not None and len(found) != 1:
            raise UsageError(f"--expect goes with one document, {source} has {len(found)}")
        with connection.connect(addr) as client:
            put_all(client, found, _tell, expect=expect)

    return run


def put_all(
    client: Client,
    found: Sequence[documents.Document],
    tell: Callable[[list[dict[str, Any]]], None],
    *,
    expect: int | None = None,
) -> None:
    """Writes documents up to the first that is refused, whose error says which it was.

    `tell` gets what was written also then: it may be a new token, which is never shown again.
    """
    written: list[dict[str, Any]] = []
    try:
        for document in found:
            written.append(_written(client, document, expect=expect))
    except HeroctlError as error:
        if len(found) > 1:
            error.message = (
                f"{document}: {error.message} ({counted(len(written), 'document')} applied)"
            )
        elif error.reason == "invalid":
            error.message = f"{document.file}: {error.message}"
        raise
    finally:
        if written:
            tell(written)


def _written(client: Client, document: documents.Document, *, expect: int | None) -> dict[str, Any]:
    """Writes one document: its kind, name and revision; a new token also has its secret."""
    if document.kind == "metrics":
        path, method = documents.collection(document.kind), "POST"
    else:
        path, method = documents.place(document.kind, document.name), "PUT"
    # Only the first answer to a new token has its secret.
    retry = document.kind != "token"
    answer = client.write(method, path, document.body, expect=expect, retry=retry)
    return {"kind": document.kind, "name": document.name, **answer.body}


def _tell(written: list[dict[str, Any]]) -> None:
    def text() -> None:
        for item in written:
            output.line(f"{item['kind']} {item['name']}: revision {item['revision']}")
            if "token" in item:
                output.line(f"token: {item['token']}")
                output.say("the token is shown this once only: keep it now")

    output.emit(written, text=text)


def _delete(kind: str) -> click.Command:
    @click.command("delete", help=f"Delete one {kind}.")
    @click.argument("name")
    @click.option("--expect", type=click.IntRange(min=1), help="The revision seen.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @connection.online
    def run(addr: str | None, name: str, expect: int | None, *, yes: bool) -> None:
        output.confirm(f"delete {kind} {name}?", yes=yes)
        with connection.connect(addr) as client:
            answer = client.write("DELETE", documents.place(kind, name), expect=expect)
        result = {"kind": kind, "name": name, **answer.body}
        output.emit(result, text=lambda: output.line(f"{kind} {name}: deleted"))

    return run


def _watch(kind: str) -> click.Command:
    @click.command("watch", help=f"Show changes of {documents.PLURALS[kind]} as they come.")
    @click.argument("prefix", default="")
    @click.option("--since", metavar="CURSOR", help="Go on from there; without it, from now.")
    @connection.online
    def run(addr: str | None, prefix: str, since: str | None) -> None:
        query = {"prefix": f"{documents.watched(kind)}/{prefix}", "since": since}
        cursor = since
        with connection.connect(addr) as client:
            try:
                for event in client.events("/v1/watch", query):
                    cursor = event.cursor
                    if event.name != "bookmark":
                        output.emit_one(event.body, text=_change)
            except (Unreachable, WatchEnded, NodeFault) as error:
                if cursor is not None and not isinstance(error, Compacted | EpochChanged):
                    error.hint = f"go on with --since {cursor}"
                raise

    return run


def _change(change: dict[str, Any]) -> str:
    return f"{change['action']} {change['kind']} {change['name']}: revision {change['revision']}"
