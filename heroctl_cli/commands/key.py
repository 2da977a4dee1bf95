"""`heroctl key`: makes and names the keys that encrypt snapshots."""

from __future__ import annotations

from pathlib import Path

import click

from heroctl_core.crypto.keys import generate_key_file, load_key_file

from .. import output


@click.command("generate", help="Make a new key in FILE (mode 600); an existing file is kept.")
@click.argument("file", type=click.Path(path_type=Path))
@output.output_option
def _generate(file: Path) -> None:
    generate_key_file(file)
    key_id = load_key_file(file).key_id
    output.say("keep a copy outside the cluster: without this key a snapshot is garbage")
    output.emit(
        {"file": str(file), "key_id": key_id}, text=lambda: click.echo(f"{file}: key {key_id}")
    )


@click.command("id", help="The id of the key in FILE, as archives show it.")
@click.argument("file", type=click.Path(path_type=Path))
@output.output_option
def _id(file: Path) -> None:
    key_id = load_key_file(file).key_id
    output.emit({"file": str(file), "key_id": key_id}, text=lambda: click.echo(key_id))


command = click.Group("key", help="Keys that encrypt snapshots.", commands=[_generate, _id])
