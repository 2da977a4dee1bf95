"""`heroctl config`: checks and shows server.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from heroctl_core.clock import SystemClock
from heroctl_core.config.load import Loaded, load_with_origins
from heroctl_core.config.model import DEFAULT_CONFIG_FILE, Secret
from heroctl_core.crypto.keys import load_key_file
from heroctl_core.node_keys import read_credentials

from .. import output

config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="HEROCTL_CONFIG",
    default=DEFAULT_CONFIG_FILE,
    show_default=True,
    help="The node's server.yaml (HEROCTL_CONFIG).",
)


@click.command(
    "check", help="Every mistake in the file, with its place; reads its key and TLS files."
)
@config_option
@output.output_option
def _check(path: Path) -> None:
    loaded = load_with_origins(path)
    for warning in loaded.warnings:
        output.warn(warning)
    config = loaded.config
    for key in (*config.backup.encryption_key_file, config.secrets.key_file):
        if key is not None:
            load_key_file(key)
    credentials = read_credentials(config, SystemClock())
    expiring = credentials.warnings if credentials else []
    for warning in expiring:
        output.warn(warning)
    result = {"file": os.fspath(path), "warnings": [*loaded.warnings, *expiring]}
    output.emit(result, text=lambda: output.line(f"{path}: ok"))


@click.command("show", help="What the node would use, defaults included; secrets are hidden.")
@config_option
@click.option("--origin", is_flag=True, help="Say for each value where it comes from.")
@output.output_option
def _show(path: Path, *, origin: bool) -> None:
    loaded = load_with_origins(path)
    if origin:
        rows = list(_origins(loaded))
        output.emit(
            [dict(zip(("key", "value", "origin"), row, strict=True)) for row in rows],
            text=lambda: output.table(["KEY", "VALUE", "ORIGIN"], rows),
        )
    else:
        output.emit(_plain(loaded.config))


def _plain(value: Any) -> Any:
    """A value of the configuration as JSON."""
    if isinstance(value, Secret):
        return "(hidden)"
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _origins(loaded: Loaded) -> Iterator[tuple[str, Any, str]]:
    """Key, value and origin of every leaf."""
    for key, value in _leaves("", _plain(loaded.config)):
        given = loaded.origins.get(key) or loaded.origins.get(key.replace("[0]", ""))
        yield key, value, given or "default"


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}".removeprefix("."), item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(f"{key}[{index}]", item)
    else:
        yield key, value


command = click.Group("config", help="Check and show server.yaml.", commands=[_check, _show])
