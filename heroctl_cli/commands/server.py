"""`heroctl server`: runs one node of a cluster until SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Final

import click

from heroctl_core.config.load import load_with_origins
from heroctl_core.control_plane import ControlPlane
from heroctl_core.server.http import ApiServer
from heroctl_core.server.notify_ready import notify
from heroctl_core.version import __version__

from .. import logs
from .config import config_option

_LOOK_S: Final = 0.5  # how soon a node that stopped itself ends the program

_log = logging.getLogger("heroctl.server")


@click.command("server", help="Run one node of a cluster, until SIGTERM or Ctrl-C.")
@config_option
@click.option("--bootstrap", is_flag=True, help="A lone node with an empty folder: a new cluster.")
def command(path: Path, *, bootstrap: bool) -> None:
    stopped = _stop_on_signal()
    logs.to_stderr()
    loaded = load_with_origins(path)
    for warning in loaded.warnings:
        _log.warning("%s: %s", path, warning)
    config = loaded.config
    with ControlPlane.open(config, socket=True, bootstrap=bootstrap) as plane:
        with ApiServer(plane, listen=config.api.listen, limit=config.limits):
            _log.info(
                "heroctl %s: node %s of cluster %s, api %s, socket %s, raft %s, data %s",
                *(__version__, config.node.name, config.cluster.name, config.api.listen),
                *(config.socket_path(), config.raft.listen, config.node.data_dir),
            )
            # Ready means that clients and peers are answered. A quorum may need nodes that are
            # started after this one, so waiting for it here would never end.
            notify("READY=1")
            _run(plane, stopped)
            notify("STOPPING=1")
        _log.info("stopping")


def _run(plane: ControlPlane, stopped: threading.Event) -> None:
    """Until a signal comes. Raises what made the node stop itself."""
    while not stopped.wait(_LOOK_S):
        if plane.fault is not None:
            raise plane.fault


def _stop_on_signal() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, from the first moment on."""
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped
