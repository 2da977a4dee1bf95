"""`heroctl acl`: policies and tokens, and the first token of a cluster."""

from __future__ import annotations

from typing import Final

import click

from heroctl_core.client import path_of
from heroctl_core.errors import REJECT_REASONS, UsageError

from .. import connection, output
from ..resource import group

_DENIED: Final = REJECT_REASONS["denied"][0]

_policy = group(
    "policy",
    "Policies: lists of rules; a deny wins over every allow.",
    [
        ("NAME", lambda policy: policy["name"]),
        ("RULES", lambda policy: len(policy["rules"])),
        ("REVISION", lambda policy: policy["meta"]["revision"]),
    ],
)
_token = group(
    "token",
    "Tokens: who may call over TCP. A token's secret is shown once, when it is made.",
    [
        ("NAME", lambda token: token["name"]),
        ("ACCESSOR", lambda token: token["accessor"]),
        ("POLICIES", lambda token: token["policies"]),
        ("EXPIRES", lambda token: token["expires"]),
        ("REVISION", lambda token: token["meta"]["revision"]),
    ],
)


@click.command("bootstrap", help="Print the first token, which may do everything; works once.")
@connection.online
def _bootstrap(addr: str | None) -> None:
    with connection.connect(addr) as client:
        answer = client.write("POST", path_of("acl", "bootstrap"), {}, retry=False)

    def text() -> None:
        click.echo(answer.body["token"])
        output.say("the token is shown this once only: keep it now")

    output.emit(answer.body, text=text)


@click.command("can", help="Tell whether a token may do something, and which rule says so.")
@click.argument("token")
@click.argument("action")
@click.argument("resource", metavar="KIND/NAME")
@connection.online
@click.pass_context
def _can(context: click.Context, addr: str | None, token: str, action: str, resource: str) -> None:
    kind, slash, name = resource.partition("/")
    if not slash:
        raise UsageError(f"{resource!r} is not KIND/NAME, as in job/web")
    query = {"token": token, "action": action, "resource": kind, "name": name}
    with connection.connect(addr) as client:
        decision = connection.read(client, path_of("acl", "can"), query).body
    word = "yes" if decision["allowed"] else "no"
    output.emit(decision, text=lambda: output.line(f"{word}: {decision['why']}"))
    if not decision["allowed"]:
        context.exit(_DENIED)


command = click.Group(
    "acl",
    help="Policies and tokens: who may do what.",
    commands=[_policy, _token, _bootstrap, _can],
)
