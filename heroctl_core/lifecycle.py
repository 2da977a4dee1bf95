"""Changes of generation of a node that runs: the forced bootstrap of the guide's scenario 1, and
what an operator says of a generation that is contested.

In a forced bootstrap the server is up, read-only, without a quorum. It freezes first – no votes,
acknowledgements or elections in the old generation from then on –, restores into its own folder and
goes on in the new generation, all in one process. Until CURRENT is changed an error lets the old
generation go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .clock import Clock
from .config.model import Config
from .crypto.keys import BackupKey
from .errors import Busy, NodeFault, OutcomeUnknown, RecoveryError
from .node_keys import NodeKeys, proof_key, read_credentials
from .raft.port import Mode

if TYPE_CHECKING:
    from .raft.folder import DataFolder
    from .raft.runtime import Runtime
    from .recovery.facts import Peer
    from .recovery.plan import RestorePlan
    from .recovery.restore import Restore, RestoreReport
    from .server.port import Report, RestoreOptions

T = TypeVar("T")

_CALL_S: Final = 30.0
_SERVES_S: Final = 20.0
_ANSWERS_S: Final = 3.0  # a machine that is off never refuses a connection


@dataclass(frozen=True, slots=True)
class PlannedOnly:
    """The report of a dry run: nothing was changed."""

    plan: RestorePlan

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        from .recovery.restore import shown_plan

        return {**shown_plan(self.plan), "dry_run": True}


class Lifecycle:
    """What the server's socket may ask of the node that it belongs to."""

    def __init__(
        self, runtime: Runtime, folder: DataFolder, keys: NodeKeys, config: Config, clock: Clock
    ) -> None:
        self._runtime = runtime
        self._folder = folder
        self._keys = keys
        self._config = config
        self._clock = clock
        self._restoring = Lock()

    def join(self, address: str) -> None:
        """See server.port.Lifecycle."""
        self._on_engine(lambda: self._folder.join(address))

    def force_bootstrap(self, archive: Path, options: RestoreOptions) -> Report:
        """See server.port.Lifecycle. Busy while another one is under way: the first to end would
        thaw the node while the other still writes into its folder."""
        from .snapshot.archive import open_archive

        self._refuse_quorum()
        with open_archive(
            archive, self._keys.all, allow_unencrypted=not options.encrypted
        ) as opened:
            opened.verify()
            restore = self._restore(opened, archive.name, options)
            if options.dry_run:
                return PlannedOnly(restore.plan())
            if not self._restoring.acquire(blocking=False):
                raise Busy(
                    "another restore into this node is under way",
                    hint="wait until it is done: heroctl status shows the generation",
                )
            try:
                return self._restore_frozen(restore)
            finally:
                self._restoring.release()

    def resume(self, *, others_destroyed: bool) -> None:
        """See server.port.Lifecycle."""
        from .raft import orders

        runtime, clock = self._runtime, self._clock
        self._ask_rivals()
        self._on_engine(
            lambda: orders.resume(
                runtime.standing, clock.monotonic_s(), others_destroyed=others_destroyed
            )
        )
        until = time.monotonic() + _SERVES_S
        while not self._on_engine(lambda: runtime.standing.has_decided):
            if time.monotonic() > until:
                raise RecoveryError(
                    "; ".join(runtime.status().warnings) or "other nodes are still asked",
                    hint="start those nodes or switch them off; if they are destroyed for good: "
                    "heroctl cluster resume --others-destroyed",
                )
            time.sleep(0.02)
        if contested := self._on_engine(lambda: runtime.standing.contested):
            raise RecoveryError(
                f"contested: {contested}", hint="do what it says, then resume once more"
            )

    def _ask_rivals(self) -> None:
        """Returns when it is known whether those who contest this node are still there: what they
        said counts for a while, and the operator may have stopped them at this moment."""
        from .raft import orders

        standing, clock = self._runtime.standing, self._clock
        if not self._on_engine(lambda: orders.ask_rivals(standing, clock.monotonic_s())):
            return
        until = time.monotonic() + _ANSWERS_S
        while time.monotonic() < until:
            if self._on_engine(lambda: orders.rivals_answered(standing, clock.monotonic_s())):
                return
            time.sleep(0.02)

    def yield_to(self, name: str, *, confirm_cluster: str) -> str:
        """See server.port.Lifecycle."""
        from .raft import orders

        cluster = self._config.cluster.name
        if confirm_cluster != cluster:
            raise RecoveryError(
                f"{confirm_cluster!r} was confirmed, this is cluster {cluster}",
                hint="check that you are on the right machine",
            )
        runtime, now_s = self._runtime, self._clock.monotonic_s()
        return self._on_engine(lambda: orders.yield_to(runtime.standing, now_s, name))

    def _restore_frozen(self, restore: Restore) -> RestoreReport:
        self._freeze()
        before = self._folder.header
        try:
            report = restore.execute(restore.plan())
        finally:
            # Whatever CURRENT names now is what the node serves; without a change it is as before.
            self._thaw()
        if self._folder.header != before:
            self._wait_until_it_serves()
        return report

    def _freeze(self) -> None:
        """Freezes the node. When that does not end in time it is undone as soon as it has ended."""
        try:
            self._on_engine(lambda: self._runtime.freeze("forced bootstrap"))
        except OutcomeUnknown:
            self._runtime.call(self._runtime.thaw)
            raise

    def _thaw(self) -> None:
        """Lets the node go on; unlike other calls this one runs however late it is."""
        try:
            self._runtime.call(self._runtime.thaw).result(_CALL_S)
        except TimeoutError as error:
            raise _unknown() from error

    def _on_engine(self, function: Callable[[], T]) -> T:
        """What `function` gives on the engine's thread. Busy when that had no time for it, and it
        will not run any more; OutcomeUnknown when it has begun and does not end."""
        called = self._runtime.call(function)
        try:
            return called.result(_CALL_S)
        except TimeoutError as error:
            if called.cancel():
                raise Busy(
                    f"the engine had no time for it within {_CALL_S:g} s: nothing was changed",
                    hint="look at the node's log and its disk, then run it again",
                ) from error
            raise _unknown() from error

    def _refuse_quorum(self) -> None:
        mode = self._runtime.status().mode
        if mode in (Mode.NORMAL, Mode.DEGRADED):
            raise RecoveryError(
                "this node has a quorum, so nothing has to be forced",
                hint="a forced bootstrap is for a quorum that is lost for good; to go back to a "
                "snapshot, stop all nodes and restore on one of them",
            )

    def _restore(self, opened: Any, name: str, options: RestoreOptions) -> Restore:
        from .raft.restore_target import FolderTarget
        from .recovery.facts import Options
        from .recovery.restore import Restore

        config = self._config
        target = FolderTarget(
            self._folder,
            lambda: self._folder,
            node_name=config.node.name,
            cluster_name=config.cluster.name,
            address=self._runtime.address,
            wrapping=lambda: self._keys.wrapping,
            runs=True,
        )
        chosen = Options(
            force_bootstrap=True,
            confirm_cluster=options.confirm_cluster,
            expect_sha256=options.expect_sha256,
            revoke_tokens=options.revoke_tokens,
            archive_name=options.archive_name,
        )
        peers = sorted(config.raft.peers.values())
        return Restore(
            opened, name, target, self._keys.all, chosen, self._clock, self._probe, peers
        )

    def _probe(self, addresses: Sequence[str]) -> list[Peer]:
        name = self._config.cluster.name
        return probe_peers(addresses, name, self._keys.all, self._config, self._clock)

    def _wait_until_it_serves(self) -> None:
        until = time.monotonic() + _SERVES_S
        while time.monotonic() < until:
            status = self._runtime.status()
            if status.mode in (Mode.NORMAL, Mode.DEGRADED) and status.role == "leader":
                return
            if status.fencing == "contested":
                raise RecoveryError(
                    "; ".join(status.warnings) or "an older generation still serves",
                    hint="stop the nodes that it names, then start this node first",
                )
            time.sleep(0.02)
        raise NodeFault(
            f"the restored node does not serve after {_SERVES_S:g} s",
            hint="the restore is done and stays; heroctl status shows what the node waits for",
        )


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the engine is not done with it after {_CALL_S:g} s",
        hint="look at the node's log and its disk; heroctl status shows what came of it",
    )


def probe_peers(
    addresses: Sequence[str],
    cluster_name: str,
    keys: Sequence[BackupKey],
    config: Config | None,
    clock: Clock,
) -> list[Peer]:
    """Who answers at the addresses, as the plan of a restore wants to know it. `keys`: one of them
    is the cluster's secrets key; `config`: whose certificates are shown."""
    from .raft.probe import Asker, probe
    from .recovery.facts import Peer

    if not addresses:
        return []
    asker = Asker(
        cluster_name,
        config.node.name if config is not None else "probe",
        {key.key_id: proof_key(key) for key in keys},
        read_credentials(config, clock) if config is not None else None,
    )
    return [
        Peer(address, hello.name, hello.cluster_id, hello.has_quorum, hello.lineage)
        for address, hello in probe(addresses, asker)
        if hello.cluster_id
    ]
