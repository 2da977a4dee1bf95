"""Which node the command line talks to, and how it reads when there is no quorum.

Order: --addr or HEROCTL_ADDR, then the unix socket of the node on this machine. A token comes from
HEROCTL_TOKEN or HEROCTL_TOKEN_FILE, never from the command line, where `ps` would show it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from heroctl_core import limits
from heroctl_core.client import Answer, Client, first_reachable
from heroctl_core.config.model import DEFAULT_CONFIG_FILE, DEFAULT_DATA_DIR, RUN_SOCKET, SOCKET_NAME
from heroctl_core.errors import ConfigError, FileFault, NotApplied
from heroctl_core.files import read_private

from .output import output_option, warn

F = TypeVar("F", bound=Callable[..., Any])


def online(function: F) -> F:
    """Adds the options of a command that talks to a node: --addr and -o."""
    addr = click.option(
        "--addr",
        metavar="HOST:PORT",
        envvar="HEROCTL_ADDR",
        help="Address of a node, or several with commas (HEROCTL_ADDR).",
    )
    return output_option(addr(function))


def connect(addr: str | None, *, data_dir: Path | None = None) -> Client:
    """A client of the node to talk to; Unreachable (exit 3) naming every place that was tried."""
    return first_reachable(list(targets(addr, data_dir)), token=token())


def targets(addr: str | None, data_dir: Path | None = None) -> Iterator[str]:
    """The places to try, in order."""
    if addr:
        yield from (part.strip() for part in addr.split(",") if part.strip())
        return
    for path in sockets(data_dir):
        yield f"unix:{path}"


def sockets(data_dir: Path | None = None) -> Iterator[Path]:
    """The unix sockets where a node of this machine may be.

    A named data folder or configuration means that node and no other: a command must never reach
    a different cluster because the meant one is down.
    """
    folder = data_dir or _path_from("HEROCTL_DATA_DIR")
    named = _path_from("HEROCTL_CONFIG")
    if folder is not None:
        yield folder / SOCKET_NAME
    elif named is not None:
        yield _configured(named)
    else:
        if RUN_SOCKET.exists():
            yield RUN_SOCKET
        if os.access(DEFAULT_CONFIG_FILE, os.R_OK):
            yield _configured(DEFAULT_CONFIG_FILE)
        yield DEFAULT_DATA_DIR / SOCKET_NAME


def token() -> str | None:
    """The token of the environment, or None."""
    value = os.environ.get("HEROCTL_TOKEN")
    path = os.environ.get("HEROCTL_TOKEN_FILE")
    if value or not path:
        return value or None
    try:
        return read_private(path, max_bytes=limits.KEY_FILE_BYTES).decode("ascii").strip()
    except FileFault as error:
        raise ConfigError(f"HEROCTL_TOKEN_FILE {error.message}", hint=error.hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"HEROCTL_TOKEN_FILE {path} holds no token") from error


def read(client: Client, path: str, query: Mapping[str, object] | None = None) -> Answer:
    """The answer to a read: linearizable, or this node's copy with a warning when there is no
    quorum."""
    try:
        return client.get(path, query)
    except NotApplied as error:
        answer = client.get(path, {**(query or {}), "consistency": "stale"})
        age = "" if answer.age_s is None else f", {answer.age_s:.1f} s old"
        # The reason last: it may end in a command to copy.
        warn(f"this is the copy of one node, revision {answer.revision}{age}: {error.message}")
        return answer


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _configured(path: Path) -> Path:
    from heroctl_core.config.load import load

    return load(path).socket_path()
