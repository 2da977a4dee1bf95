"""`heroctl metrics`: recent metric history, seven days of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from heroctl_core.client import with_query
from heroctl_core.errors import CommandRejected, UsageError
from heroctl_core.words import counted

from .. import connection, documents, output
from ..resource import all_items, put_all

F = TypeVar("F", bound=Callable[..., Any])


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


def _labels(function: F) -> F:
    """Adds -l, which narrows the series of one name."""
    return click.option(
        "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE",
        help="Only series that have it.", callback=_label_query,
    )(function)  # fmt: skip


def _label_query(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """The labels as the API's query has them."""
    query = {}
    for label in given:
        key, equals, value = label.partition("=")
        if not equals:
            raise UsageError(f"--label {label!r}; allowed: KEY=VALUE")
        query[f"label.{key}"] = value
    return query


@click.command("get", help="The samples of a series, oldest first.")
@click.argument("series")
@_labels
@click.option("--since", metavar="TIME", help="Only samples from this time on (RFC 3339).")
@connection.online
def _get(addr: str | None, series: str, labels: dict[str, str], since: str | None) -> None:
    query: dict[str, Any] = {"since": since, **labels}
    with connection.connect(addr) as client:
        found = connection.read(client, documents.place("metrics", series), query).body
    if not found["items"] and not labels and since is None:
        raise CommandRejected("not_found", f"metrics {series} does not exist")
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
            output.line(
                f"{item['name']}: {counted(item['samples'], 'sample')}, revision {item['revision']}"
            )

    output.emit(written, text=text)


@click.command("delete", help="Delete the series of one name, all of them or those with labels.")
@click.argument("series")
@_labels
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection.online
def _delete(addr: str | None, series: str, labels: dict[str, str], *, yes: bool) -> None:
    shown = " ".join([series, *(key.removeprefix("label.") + f"={labels[key]}" for key in labels)])
    output.confirm(f"delete metrics {shown}?", yes=yes)
    with connection.connect(addr) as client:
        path = with_query(documents.place("metrics", series), labels)
        answer = client.write("DELETE", path)
    result = {"kind": "metrics", "name": series, **answer.body}
    output.emit(result, text=lambda: output.line(f"metrics {shown}: deleted"))


command = click.Group(
    "metrics", help="Recent metric history.", commands=[_list, _get, _put, _delete]
)
