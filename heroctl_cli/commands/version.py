"""`heroctl version`: the version of this program."""

from __future__ import annotations

import click

from heroctl_core.version import __version__

from .. import output


@click.command("version", help="The version of this program.")
@output.output_option
def command() -> None:
    output.emit({"version": __version__}, text=lambda: click.echo(f"heroctl {__version__}"))
