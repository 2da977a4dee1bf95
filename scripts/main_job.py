"""The main job before your eyes: a cluster is filled, saved, destroyed and brought back.

Three real nodes on this machine, real files, real kills. First the worst day: every node is killed
and two of three disks are lost. Then the guide's ordinary restore, with all disks intact.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import IO, Any

from demo import picture
from demo.nodes import CLUSTER, Node, make_nodes, wait_for
from demo.picture import Picture
from demo.screen import CommandFailed, Stopwatch, say, short, title, typed

from heroctl_core.errors import HeroctlError

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "examples" / "catalogue"
MAKE_METRICS = ROOT / "scripts" / "make_metrics.py"


class MainJob:
    """The story, chapter by chapter, on three nodes in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self.archive = folder / "backups" / "snap.tar.gz"
        self.watch = Stopwatch()

    def tell(self) -> None:
        """Everything up to the last comparison; CommandFailed as soon as something is not right."""
        self.set_up()
        self.fill()
        before = picture.take(self.nodes[0].client())
        say(f"the catalogue now: {picture.counts(before)}")
        self.save()
        self.lose_nearly_everything()
        self.restore_on_the_survivor()
        self.compare(before)
        self.change_something(before)
        self.restore_as_the_guide_says()
        self.compare(before)
        title("How long it took")
        self.watch.table()

    def set_up(self) -> None:
        """A key, three configurations, three processes that find each other."""
        title("Three nodes")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.archive.parent.mkdir(parents=True)
        self.nodes = make_nodes(self.folder)
        self.nodes[0].heroctl("key", "generate", self.folder / "backup.key")
        with self.watch.step("three nodes from nothing to a cluster"):
            for node in self.nodes:
                typed(node.start_command)
                node.start()
            wait_for(self.nodes, is_whole, "cluster of three voters")
        self.use(self.nodes[0])

    def fill(self) -> None:
        """The example catalogue and seven days of metrics, through the command line."""
        title("A catalogue: what a small tea shop runs")
        node = self.nodes[0]
        with self.watch.step("fill: catalogue and seven days of metrics"):
            node.heroctl("apply", "-f", CATALOGUE)
            history = subprocess.check_output([sys.executable, str(MAKE_METRICS)], text=True)
            shown = f"python {short(MAKE_METRICS)} | heroctl metrics put -f - | tail -n 1"
            put = ("metrics", "put", "-f", "-")
            node.heroctl(*put, stdin=history, shown=shown, last_line_only=True)

    def save(self) -> None:
        """One archive of everything."""
        title("Save")
        with self.watch.step("snapshot save"):
            self.nodes[0].heroctl("snapshot", "save", self.archive)

    def lose_nearly_everything(self) -> None:
        """Every process is killed, two of three data folders are deleted."""
        title("The worst day: every node dies, two disks are gone")
        for node in self.nodes:
            process = node.process
            typed(f"kill -KILL {process.pid if process else ''}  # {node.name}")
            node.end(signal.SIGKILL)
        lost = self.nodes[:2]
        typed(f"rm -rf {' '.join(short(node.data_dir) for node in lost)}")
        for node in lost:
            node.wipe()

    def restore_on_the_survivor(self) -> None:
        """The archive comes back on the third node, the other two join by themselves."""
        title("Bring it back: restore on the one that is left")
        survivor, others = self.nodes[2], self.nodes[:2]
        self.use(survivor)
        restore = ("snapshot", "restore", self.archive, "--force-bootstrap")
        with self.watch.step("restore --force-bootstrap"):
            survivor.heroctl(*restore, "--yes", "--confirm-cluster", CLUSTER)
        self.come_back(survivor, others, "worst day")

    def change_something(self, before: Picture) -> None:
        """Life after the snapshot: a row is changed, one is deleted. A restore takes both back."""
        title("Second act: the guide's ordinary restore, all disks intact")
        node = self.nodes[0]
        self.use(node)
        say("somebody breaks something after the snapshot:")
        node.heroctl("job", "delete", "shop-web", "--yes")
        document = "{kind: node, name: node-4, address: 10.66.6.6}"
        shown = f"echo '{document}' | heroctl node put -f -"
        node.heroctl("node", "put", "-f", "-", stdin=document, shown=shown)
        broken = picture.differences(before, picture.take(node.client()))
        if len(broken) != 2:
            raise CommandFailed(f"expected two broken rows, found: {broken}")

    def restore_as_the_guide_says(self) -> None:
        """Stop all, restore on one, start it, start the others."""
        for node in self.nodes:
            process = node.process
            typed(f"kill {process.pid if process else ''}  # {node.name}: systemctl stop")
            node.end(signal.SIGTERM)
        first, others = self.nodes[0], self.nodes[1:]
        self.use(first)
        restore = ("snapshot", "restore", self.archive)
        with self.watch.step("restore"):
            first.heroctl(*restore, "--yes", "--confirm-cluster", CLUSTER)
        self.come_back(first, others, "ordinary restore")

    def come_back(self, first: Node, others: list[Node], name: str) -> None:
        """Starts the restored node, then the others, and waits for each stage."""
        with self.watch.step(f"{name}: the restored node serves"):
            typed(first.start_command)
            first.start()
            wait_for([first], has_leader, "leader")
        with self.watch.step(f"{name}: the other two joined, three voters"):
            for node in others:
                typed(node.start_command)
                node.start()
            wait_for(self.nodes, is_whole, "cluster of three voters")

    def compare(self, before: Picture) -> None:
        """Every row of every kind, on every node."""
        title("Is everything as it was?")
        self.nodes[0].heroctl("status")
        for node in self.nodes:
            with node.client() as client:
                client.get("/v1/jobs", {"limit": 1})  # linearizable: the node has caught up
                after = picture.take(client, consistency="stale")
            wrong = picture.differences(before, after)
            if wrong:
                raise CommandFailed(f"{node.name} differs: {'; '.join(wrong[:20])}")
            say(f"{node.name}: all {len(after)} rows are as before")

    def use(self, node: Node) -> None:
        """Says which node the next commands talk to."""
        typed(f"export HEROCTL_CONFIG={short(node.config)}")

    def stop(self) -> None:
        """Stops what still runs."""
        for node in self.nodes:
            node.end(signal.SIGTERM)

    def stay(self) -> None:
        """Waits for Ctrl-C."""
        title("The nodes stay up. In another terminal:")
        python = short(Path(sys.executable).parent)
        for line in (
            f"export PATH={python}:$PATH HEROCTL_CONFIG={short(self.nodes[0].config)}",
            "heroctl status",
            "heroctl job list",
            "heroctl secret get shop-db-password",
            f"heroctl snapshot inspect {short(self.archive)}",
        ):
            typed(line)
        if self.nodes[1].process is not None:
            typed(f"kill -KILL {self.nodes[1].process.pid}  # then write: two of three are enough")
        say("Ctrl-C here stops them.")
        signal.pause()


def is_whole(status: dict[str, Any]) -> bool:
    """Three connected voters and a leader, seen from one node."""
    voters = [member for member in status["members"] if member["voter"]]
    return bool(status["mode"] == "NORMAL" and status["leader"] and len(voters) == 3)


def has_leader(status: dict[str, Any]) -> bool:
    """The node serves: it has a leader and a quorum."""
    return bool(status["leader"] and status["mode"] in ("NORMAL", "DEGRADED"))


def locked(folder: Path) -> IO[str]:
    """An open file whose lock keeps a second story out of the same folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = Path(f"{folder}.lock").open("w", encoding="utf-8")  # noqa: SIM115 – held until the end
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CommandFailed(f"the story already runs in {short(folder)}") from error
    return file


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """0 when everything came back as it was; 1 with a reason when not; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="shows the main job")
    parser.add_argument("--once", action="store_true", help="end after the comparison")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".run" / "main-job", help="where the nodes live"
    )
    arguments = parser.parse_args()
    job = MainJob(arguments.folder.resolve())
    signal.signal(signal.SIGTERM, _interrupt)
    told = False
    try:
        with locked(job.folder):
            try:
                job.tell()
                told = True
                if not arguments.once:
                    job.stay()
            finally:
                job.stop()
    except (CommandFailed, HeroctlError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0 if told else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
