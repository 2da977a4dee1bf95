"""`heroctl tls`: makes the certificates by which the nodes of a cluster know each other."""

from __future__ import annotations

from pathlib import Path

import click

from heroctl_core.crypto.pki import CA_CERTIFICATE, CA_KEY, Issued, issue, make_authority

from .. import output

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("init", help="Make a certificate authority for a cluster; nothing is overwritten.")
@click.option("--cluster", required=True, metavar="NAME", help="As cluster.name in server.yaml.")
@click.option(
    "--out",
    type=_FOLDER,
    default=".",
    help=f"Folder for {CA_CERTIFICATE} and {CA_KEY}.",
)
@output.output_option
def _init(cluster: str, out: Path) -> None:
    made = make_authority(out, cluster)
    output.say(f"keep {made.key_file} off the nodes: who has it can make a node of the cluster")
    _tell({"cluster": cluster}, made)


@click.command("issue", help="Make the certificate of a node; nothing is overwritten.")
@click.option("--node", required=True, metavar="NAME", help="As node.name in its server.yaml.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST|IP",
    help="A name or address under which clients reach it; may be given several times.",
)
@click.option("--ca", type=_FOLDER, default=".", show_default=True, help="Folder of the authority.")
@click.option(
    "--out", type=_FOLDER, help="Folder for NODE.crt and NODE.key; without it that of --ca."
)
@output.output_option
def _issue(node: str, addresses: tuple[str, ...], ca: Path, out: Path | None) -> None:
    made = issue(ca, node, addresses=addresses, out=out)
    output.say(
        f"put {made.cert_file}, {made.key_file} and {ca / CA_CERTIFICATE} on {node}, for its "
        "server's user"
    )
    _tell({"node": node}, made)


def _tell(subject: dict[str, str], made: Issued) -> None:
    end = f"{made.not_after:%Y-%m-%dT%H:%M:%SZ}"
    paths = {"cert_file": str(made.cert_file), "key_file": str(made.key_file)}
    output.emit(
        {**subject, **paths, "not_after": end},
        text=lambda: click.echo(f"{made.cert_file} and {made.key_file}, valid until {end}"),
    )


command = click.Group(
    "tls", help="Certificates of a cluster and its nodes.", commands=[_init, _issue]
)
