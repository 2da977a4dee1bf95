"""`heroctl acl`: policies and tokens, and the first token of a cluster."""

from __future__ import annotations

import click

from heroctl_core.client import path_of

from .. import connection, output
from ..resource import group

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


command = click.Group(
    "acl", help="Policies and tokens: who may do what.", commands=[_policy, _token, _bootstrap]
)
