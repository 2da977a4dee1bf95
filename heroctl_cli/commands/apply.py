"""`heroctl apply`: puts many documents, in an order in which they can refer to each other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from heroctl_core.client import Client
from heroctl_core.errors import HeroctlError

from .. import connection, documents, output
from ..resource import put


@click.command("apply", help="Put every document of a file or folder; - is stdin.")
@documents.source_option(metavar="DIR|FILE|-")
@connection.online
def command(addr: str | None, source: str) -> None:
    found = documents.read_all(source)
    with connection.connect(addr) as client:
        result = _apply(client, found)

    def text() -> None:
        for name, token in result["tokens"].items():
            click.echo(f"token {name}: {token}")
        counts = [_count(kind, result["applied"][kind]) for kind in result["applied"]]
        click.echo(f"applied: {', '.join(counts) or 'nothing new'}")

    output.emit(result, text=text)


def _apply(client: Client, found: list[documents.Document]) -> dict[str, Any]:
    """Counts by kind, and the new tokens by name. Stops at the first refusal and says where."""
    applied: Counter[str] = Counter()
    tokens: dict[str, str] = {}
    for document in sorted(found, key=lambda d: documents.KINDS.index(d.kind)):
        try:
            written = put(client, document)
        except HeroctlError as error:
            error.message = f"{document}: {error.message} ({applied.total()} documents applied)"
            raise
        applied[document.kind] += 1
        if "token" in written:
            tokens[document.name] = written["token"]
    return {"applied": dict(applied), "tokens": tokens}


def _count(kind: str, number: int) -> str:
    name = documents.PLURALS[kind]
    return f"{number} {name.removesuffix('s') if number == 1 and kind != 'policy' else name}"
