"""`heroctl apply`: puts many documents, in an order in which they can refer to each other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from heroctl_core.words import counted

from .. import connection, documents, output
from ..resource import put_all


@click.command("apply", help="Put every document of a file or folder; - is stdin.")
@documents.source_option(metavar="DIR|FILE|-")
@connection.online
def command(addr: str | None, source: str) -> None:
    found = documents.read_all(source)
    with connection.connect(addr) as client:
        put_all(client, sorted(found, key=lambda d: documents.KINDS.index(d.kind)), _tell)


def _tell(written: list[dict[str, Any]]) -> None:
    """Counts by kind, and the new tokens by name."""
    applied = Counter(item["kind"] for item in written)
    tokens = {item["name"]: item["token"] for item in written if "token" in item}

    def text() -> None:
        for name, token in tokens.items():
            output.line(f"token {name}: {token}")
        output.line(f"applied: {', '.join(_count(*item) for item in applied.items())}")

    output.emit({"applied": dict(applied), "tokens": tokens}, text=text)


def _count(kind: str, number: int) -> str:
    one = {"ingress": "ingress route", "metrics": "metric series"}.get(kind, kind)
    return counted(number, one, documents.PLURALS[kind])
