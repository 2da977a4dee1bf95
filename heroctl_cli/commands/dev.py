"""`heroctl dev`: several real nodes on this machine, with a key and a token, to play with."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType

import click

from heroctl_core.testing.local_cluster import LocalCluster

from .. import output

_PORTS = (7100, 7101, 7200, 7201, 7300, 7301, 7400, 7401, 7500, 7501)


def _default_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "heroctl" / "dev"


@click.command("dev", help="Run several real nodes on this machine until Ctrl-C, to play with.")
@click.option("--nodes", type=click.IntRange(1, 5), default=3, show_default=True, help="How many.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=_default_folder,
    show_default="~/.local/state/heroctl/dev",
    help="Keeps key, token and data; used again the next time.",
)
def command(nodes: int, data_dir: Path) -> None:
    stopped = _stop_on_signal()
    with LocalCluster(data_dir, size=nodes, name="dev", ports=_PORTS, tls=True) as cluster:
        output.say(f"starting {nodes} nodes in {cluster.folder}")
        cluster.start(bootstrap=nodes == 1)
        cluster.wait_ready()
        cluster.make_token()
        _tell(cluster)
        _watch(cluster, stopped)
        output.say("stopping")


def _watch(cluster: LocalCluster, stopped: threading.Event) -> None:
    """Until `stopped`. A node that ends is told, not started again: it may have been killed to
    see what the others do."""
    told: set[str] = set()
    while not stopped.wait(0.5):
        for node in cluster.nodes.values():
            if node.is_running or node.name in told or node.process is None:
                continue
            told.add(node.name)
            output.warn(f"{node.name} ended with code {node.process.returncode}")
            output.say(f"start it again with: heroctl server --config {node.config_file}")


def _stop_on_signal() -> threading.Event:
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return stopped


def _tell(cluster: LocalCluster) -> None:
    for node in cluster.nodes.values():
        click.echo(f"{node.name}  api {node.api}  raft {node.raft}  log {node.log_file}")
    addresses = ",".join(node.api for node in cluster.nodes.values())
    click.echo("to talk to them, in another terminal:")
    click.echo(f"  export HEROCTL_ADDR={addresses} HEROCTL_TOKEN_FILE={cluster.token_file}")
    click.echo("  heroctl status")
    output.say("Ctrl-C stops them")
