"""`heroctl metrics`: recent metric history, seven days of it."""

from __future__ import annotations

from typing import Any

import click

from heroctl_core.errors import UsageError

from .. import connection, documents, output
from ..resource import all_items, put_all


@click.command("list", help="All series, with how many samples they have.")
@click.option("--prefix", default="", help="Only series that begin with this.")
@connection.online
def _list(addr: str | None, prefix: str) -> None:
    with connection.connect(addr) as client:
        items = all_items(client, "metrics", prefix=prefix)
    known = ("count", "first", "last")
    rows = [
        [item["series"], item["labels"], *(item["meta"][key] for key in known)] for item in items
    ]
    output.emit(
        items,
        text=lambda: output.table(["SERIES", "LABELS", *(k.upper() for k in known)], rows),
    )


@click.command("get", help="The samples of a series, oldest first.")
@click.argument("series")
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only series that have it."
)
@click.option("--since", metavar="TIME", help="Only samples from this time on (RFC 3339).")
@connection.online
def _get(addr: str | None, series: str, labels: tuple[str, ...], since: str | None) -> None:
    query: dict[str, Any] = {"since": since}
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals:
            raise UsageError(f"--label {label!r}; allowed: KEY=VALUE")
        query[f"label.{key}"] = value
    with connection.connect(addr) as client:
        found = connection.read(client, documents.place("metrics", series), query).body
    rows = [
        [output.cell(item["labels"]), time, value]
        for item in found["items"]
        for time, value in item["samples"]
    ]
    output.emit(found, text=lambda: output.table(["LABELS", "TIME", "VALUE"], rows))


@click.command("put", help="Add samples from a file; - is stdin.")
@documents.source_option(metavar="FILE|-")
@connection.online
def _put(addr: str | None, source: str) -> None:
    found = documents.read_all(source, kind="metrics")
    with connection.connect(addr) as client:
        put_all(client, found, _tell)


def _tell(written: list[dict[str, Any]]) -> None:
    def text() -> None:
        for item in written:
            click.echo(f"{item['name']}: {item['samples']} samples, revision {item['revision']}")

    output.emit(written, text=text)


command = click.Group("metrics", help="Recent metric history.", commands=[_list, _get, _put])
