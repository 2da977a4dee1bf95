"""The main job before your eyes: a cluster is filled, saved, destroyed and brought back.

Three real nodes on this machine, real files, real kills. First the worst day: every node is killed
and two of three disks are lost. Then the guide's ordinary restore, with all disks intact.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import IO

from demo import picture
from demo.picture import Picture
from demo.screen import Stopwatch, StoryFailed, run, say, short, title, typed

from heroctl_core.errors import HeroctlError
from heroctl_core.testing.local_cluster import LocalCluster, LocalNode

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "examples" / "catalogue"
MAKE_METRICS = ROOT / "scripts" / "make_metrics.py"
HEROCTL = Path(sys.executable).with_name("heroctl")
CLUSTER = "marigold"
CONFIRMED = ("--yes", "--confirm-cluster", CLUSTER)  # on a terminal it would ask for the name


class MainJob:
    """The story, chapter by chapter, on the nodes of `cluster`."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.archive = cluster.folder / "backups" / "snap.tar.gz"
        self.watch = Stopwatch()

    def tell(self) -> None:
        """Everything up to the last comparison; StoryFailed as soon as something is not right."""
        self.start()
        self.fill()
        with self.cluster.nodes["node-1"].client() as client:
            before = picture.take(client)
        say(f"in it now: {picture.counts(before)}")
        self.save()
        self.lose_nearly_everything()
        self.restore_on_the_survivor()
        self.compare(before)
        self.break_something(before)
        self.restore_as_the_guide_says()
        self.compare(before)
        title("How long it took")
        self.watch.table()

    def start(self) -> None:
        """Three processes that find each other."""
        title("Three nodes, from empty folders")
        with self.watch.step("three nodes from nothing to a cluster"):
            self.up("node-1", "node-2", "node-3")
            self.wait_for_three_voters()

    def fill(self) -> None:
        """The example catalogue and seven days of metrics, through the command line."""
        title("A catalogue: what a small tea shop runs")
        self.use("node-1")
        with self.watch.step("fill: catalogue and seven days of metrics"):
            self.heroctl("apply", "-f", CATALOGUE)
            # To the end of this hour: the window of seven days must not move away under the story.
            end = datetime.now(UTC).replace(minute=0, second=0) + timedelta(hours=1)
            make = [sys.executable, str(MAKE_METRICS), "--end", f"{end:%Y-%m-%dT%H:%M:%SZ}"]
            history = subprocess.check_output(make, text=True)
            made = f"python {short(MAKE_METRICS)} --end {make[-1]}"
            shown = f"{made} | heroctl metrics put -f - | tail -n 1"
            put = ("metrics", "put", "-f", "-")
            self.heroctl(*put, stdin=history, shown=shown, last_line_only=True)

    def save(self) -> None:
        """One archive of everything."""
        title("Save")
        self.archive.parent.mkdir()
        with self.watch.step("snapshot save"):
            self.heroctl("snapshot", "save", self.archive)

    def lose_nearly_everything(self) -> None:
        """Every process is killed, two of three data folders are deleted."""
        title("The worst day: every node dies, two disks are gone")
        for node in self.cluster.nodes.values():
            typed(f"kill -KILL {pid(node)}  # {node.name}")
        self.cluster.kill()
        lost = [self.cluster.nodes[name] for name in ("node-1", "node-2")]
        typed(f"rm -rf {' '.join(short(node.data_dir) for node in lost)}")
        for node in lost:
            self.cluster.destroy(node.name)

    def restore_on_the_survivor(self) -> None:
        """The archive comes back on the third node, the other two join by themselves."""
        title("Bring it back: restore on the one that is left")
        self.use("node-3")
        restore = ("snapshot", "restore", self.archive, "--force-bootstrap")
        with self.watch.step("worst day: restore"):
            self.heroctl(*restore, *CONFIRMED)
        self.come_back("worst day", first="node-3", others=("node-1", "node-2"))

    def break_something(self, before: Picture) -> None:
        """Life after the snapshot: one row is deleted, one changed. A restore takes both back."""
        title("Second act: the guide's ordinary restore, all disks intact")
        self.use("node-1")
        say("after the snapshot somebody breaks something:")
        self.heroctl("job", "delete", "pay-settlement", "--yes")
        document = "{kind: node, name: node-4, address: 10.66.6.6}"
        shown = f"echo '{document}' | heroctl node put -f -"
        self.heroctl("node", "put", "-f", "-", stdin=document, shown=shown)
        with self.cluster.nodes["node-1"].client() as client:
            broken = picture.differences(before, picture.take(client))
        if broken != ["changed: nodes node-4", "missing: jobs pay-settlement"]:
            raise StoryFailed(f"expected two broken rows, found: {broken}")

    def restore_as_the_guide_says(self) -> None:
        """Stop all, restore on one, start it, start the others."""
        say("stop all, restore on one, start it, start the others:")
        for node in self.cluster.nodes.values():
            typed(f"kill {pid(node)}  # {node.name}: systemctl stop heroctl-server")
        self.cluster.stop()
        with self.watch.step("ordinary restore: restore"):
            self.heroctl("snapshot", "restore", self.archive, *CONFIRMED)
        self.come_back("ordinary restore", first="node-1", others=("node-2", "node-3"))

    def come_back(self, name: str, *, first: str, others: tuple[str, ...]) -> None:
        """Starts the restored node, then the others, and waits for each stage."""
        with self.watch.step(f"{name}: the restored node serves"):
            self.up(first)
            self.cluster.wait_ready(first)
        with self.watch.step(f"{name}: the other two joined, three voters"):
            self.up(*others)
            self.wait_for_three_voters()

    def compare(self, before: Picture) -> None:
        """Every row of every kind, on every node."""
        title("Is everything as it was?")
        self.heroctl("status")
        if self.cluster.status("node-1")["fencing"] == "unconfirmed":
            say("UNCONFIRMED: the members on the two lost disks can never say that they left")
        for node in self.cluster.nodes.values():
            with node.client() as client:
                client.get("/v1/jobs", {"limit": 1})  # linearizable: now its copy is up to date
                after = picture.take(client, consistency="stale")
            wrong = picture.differences(before, after)
            if wrong:
                raise StoryFailed(f"{node.name} differs: {'; '.join(wrong[:20])}")
            say(f"{node.name}: all {len(after)} rows are as before")

    def up(self, *names: str) -> None:
        """Starts nodes as a person would."""
        for name in names:
            typed(f"heroctl server --config {short(self.cluster.nodes[name].config_file)} &")
            self.cluster.start(name)

    def use(self, name: str) -> None:
        """Lets the next commands talk to this node."""
        self.config_file = self.cluster.nodes[name].config_file
        typed(f"export HEROCTL_CONFIG={short(self.config_file)}")

    def heroctl(
        self,
        *words: str | Path,
        stdin: str | None = None,
        shown: str | None = None,
        last_line_only: bool = False,
    ) -> None:
        """Runs the command line on the node in use, before everybody's eyes."""
        more = {"HEROCTL_CONFIG": str(self.config_file)}
        run(HEROCTL, words, more, stdin=stdin, shown=shown, last_line_only=last_line_only)

    def wait_for_three_voters(self) -> None:
        """Until every node sees three connected voters and takes writes."""
        for name in self.cluster.nodes:
            self.cluster.wait_ready(name)
            self.cluster.wait(lambda name=name: self._is_whole(name), f"{name} sees three voters")  # type: ignore[misc]

    def _is_whole(self, name: str) -> bool:
        status = self.cluster.status(name)
        voters = [member for member in status["members"] if member["role"] == "voter"]
        return status["mode"] == "NORMAL" and len(voters) == 3

    def stay(self) -> None:
        """Waits for Ctrl-C."""
        title("The nodes stay up. In another terminal:")
        typed(f"cd {Path.cwd()}")
        typed(f"export PATH={HEROCTL.parent}:$PATH HEROCTL_CONFIG={short(self.config_file)}")
        typed("heroctl status")
        typed("heroctl job list")
        typed("heroctl secret get shop-db-password")
        typed(f"heroctl snapshot inspect {short(self.archive)}")
        typed(f"kill -KILL {pid(self.cluster.nodes['node-2'])}  # two of three still take writes")
        say("Ctrl-C here stops them.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("stopping")


def pid(node: LocalNode) -> int | None:
    """The process id of a node, None when it was never started."""
    return node.process.pid if node.process is not None else None


PLAN = "cluster.json"  # a folder with it is of an earlier story


def lock(folder: Path) -> IO[str]:
    """An open file whose lock keeps a second story out of the same folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = Path(f"{folder}.lock").open("w", encoding="utf-8")  # noqa: SIM115 – held by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StoryFailed(
            f"another scripts/run has nodes in {short(folder)}: end it, or give another --folder"
        ) from error
    return file


def tell(folder: Path, *, once: bool) -> None:
    """The whole story in a fresh `folder`; without `once` it ends with Ctrl-C only."""
    with lock(folder):
        if folder.exists() and any(folder.iterdir()) and not (folder / PLAN).is_file():
            raise StoryFailed(f"{short(folder)} has other files in it; give an empty or new folder")
        shutil.rmtree(folder, ignore_errors=True)
        with LocalCluster(folder, name=CLUSTER, tls=True) as cluster:
            job = MainJob(cluster)
            try:
                job.tell()
            except HeroctlError as error:
                logs = "\n".join(f"{n}: {cluster.log_tail(n)}" for n in cluster.nodes)
                raise StoryFailed(f"{error}\n{logs}") from error
            if not once:
                job.stay()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """0 when everything came back as it was; 1 with a reason when not; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="shows the main job")
    parser.add_argument("--once", action="store_true", help="end after the comparison")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / ".run" / "main-job",
        help="where the nodes live; it is emptied first",
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    for name in [name for name in os.environ if name.startswith("HEROCTL_")]:
        del os.environ[name]  # whatever cluster they name, it is not this one
    try:
        tell(arguments.folder.resolve(), once=arguments.once)
    except StoryFailed as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
