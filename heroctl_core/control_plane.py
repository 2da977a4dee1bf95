"""One control plane in this process: the only place that picks adapters.

Opens the data folder, starts the engine, puts the catalogue and the snapshots on top, and closes
all of it in the opposite order. It stays the same object when the node changes its generation.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .backup.save import Snapshots
from .catalogue.access import OPERATOR, Actor
from .catalogue.catalogue import Catalogue
from .catalogue.keyring import KeyringSource
from .catalogue.watch import Watch
from .clock import SystemClock
from .config.model import Backup, Cluster, Config, Node
from .crypto.sealed import Keyring
from .duties import Duties
from .errors import NodeFault, NotApplied, UsageError
from .lifecycle import Lifecycle
from .node_keys import proof_key, read_credentials, read_node_keys
from .raft.credentials import Trust
from .raft.folder import DataFolder
from .raft.runtime import RaftSettings, Runtime
from .server.port import Status, TlsStatus
from .state.commands import Command
from .state.outcome import Outcome
from .state.rows import KINDS

if TYPE_CHECKING:
    from .server.http import ApiServer


class ControlPlane:
    """A node: embedded in a service, or the inside of `heroctl server`. Use it as a context
    manager; everything may be called from any thread. Does not survive a fork: open it after."""

    def __init__(self, config: Config, *, alone: bool, bootstrap: bool) -> None:
        """Use `open`. `alone`: an embedded node without listener and peers."""
        self.config = config
        self._pid = os.getpid()
        self._api: ApiServer | None = None
        clock = SystemClock()
        self._folder = DataFolder.open(
            config.node.data_dir, node_name=config.node.name, cluster_name=config.cluster.name
        )
        try:
            self._keys = read_node_keys(config, self._folder)
            _check_first_start(config, self._folder, alone=alone, bootstrap=bootstrap)
            self._credentials = None if alone else read_credentials(config, clock)
            settings = _settings(config, self._keys.wrapping.key_id, alone=alone)
            trust = Trust(proof_key(self._keys.wrapping), self._credentials)
            self._runtime = Runtime(self._folder, settings, clock, trust)
        except BaseException:
            self._folder.close()
            raise
        catalogue = Catalogue(self._runtime, self._seals, clock)
        self._keyring = KeyringSource(self._runtime, catalogue.writer, self._keys.all)
        self._catalogue = catalogue
        self.jobs = catalogue.jobs
        self.secrets = catalogue.secrets
        self.acl = catalogue.acl
        self.ingress = catalogue.ingress
        self.nodes = catalogue.nodes
        self.metrics = catalogue.metrics
        self.members = catalogue.members
        self.watches = catalogue.watches
        self.transaction = catalogue.transaction
        self.snapshot = Snapshots(
            self._runtime,
            self._keyring.stored,
            self._keys.backup,
            self._folder.spool,
            clock,
            cluster=config.cluster.name,
            node=config.node.name,
        )
        self.lifecycle = Lifecycle(self._runtime, self._folder, self._keys, config, clock)
        self._duties = Duties(self._runtime, self.metrics, clock, self._credentials)
        self._runtime.start(self._keyring.stored)
        self._duties.start()

    @classmethod
    def open(
        cls,
        config: str | Path | Config | None = None,
        *,
        data_dir: str | Path | None = None,
        key_file: str | Path | None = None,
        socket: bool = False,
        bootstrap: bool = False,
    ) -> Self:
        """A running node, by a configuration or, with `data_dir`, one embedded node on its own.

        `socket` opens the unix socket, over which the command line reaches this process; a member
        with peers always does. `bootstrap` lets a server without peers make a new cluster in an
        empty folder. Raises ConfigError, Busy when another process has the folder, NoKey or
        WrongKey, NodeFault or Damaged when the folder cannot be trusted.
        """
        alone = config is None
        plane = cls(_config(config, data_dir, key_file), alone=alone, bootstrap=bootstrap)
        try:
            if alone:
                plane._wait_until_it_serves()
            if socket or plane.config.raft.peers:
                plane._serve_socket()
        except BaseException:
            plane.close()
            raise
        return plane

    # -- what a node is asked

    def submit(
        self, command: Command, actor: Actor = OPERATOR, request_id: bytes | None = None
    ) -> Future[Outcome]:
        """The future of a command, for pipelines and asyncio; see Jobs.put_command."""
        return self._catalogue.submit(command, actor, request_id)

    def watch(
        self, prefix: str = "", *, since: str | None = None, actor: Actor = OPERATOR
    ) -> Watch:
        """The changes of rows from the cursor `since`, or from now on; see Watches.open."""
        return self.watches.open(prefix, since=since, actor=actor)

    @property
    def spool_dir(self) -> Path:
        """Where files under way may be put; emptied at start."""
        return self._folder.spool

    def status(self) -> Status:
        """The newest look; does not wait for the engine."""
        machine = self._runtime.machine
        return Status(
            cluster=self.config.cluster.name,
            node=self.config.node.name,
            raft=self._runtime.status(),
            revision=machine.revision,
            epoch=machine.epoch,
            rows={kind: machine.count(kind) for kind in KINDS},
            tls=self._tls_status(),
        )

    def _tls_status(self) -> TlsStatus | None:
        if self._credentials is None:
            return None
        contexts = self._credentials.contexts
        return TlsStatus(
            node_expires_ms=int(contexts.node_expires_s * 1000),
            authority_expires_ms=int(contexts.authority_expires_s * 1000),
            warnings=tuple(self._credentials.warnings),
        )

    @property
    def fault(self) -> Exception | None:
        """Why the node stopped itself, or None while it runs."""
        return self._runtime.fault

    # -- the end

    def close(self) -> None:
        """Ends what waits, closes sockets, log and folder. Idempotent; does nothing in a fork."""
        if os.getpid() != self._pid:
            return
        if self._api is not None:
            self._api.close()
            self._api = None
        self.watches.close()
        self._runtime.close()
        self._duties.close()
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_it_serves(self) -> None:
        """An embedded node elects itself at once; then its keyring must open."""
        try:
            self._runtime.read_barrier().result()
            self._runtime.call(self._runtime.status).result()  # it is published after that turn
        except NotApplied:
            return  # a restored node whose parent may still live says so in status and on writes
        except NodeFault as error:
            raise self.fault or error from error
        self._keyring.stored()

    def _seals(self) -> Keyring:
        return self._keyring.current()

    def _serve_socket(self) -> None:
        from .server.http import ApiServer  # aiohttp, only where it is needed

        self._api = ApiServer(self, socket_path=self.config.socket_path(), limit=self.config.limits)
        self._api.start()


def _check_first_start(config: Config, folder: DataFolder, *, alone: bool, bootstrap: bool) -> None:
    """A lost disk looks like a first start: a lone server makes a cluster only when told to."""
    told = alone or bootstrap or folder.mark("join") is not None
    if folder.header is None and config.expected_voters == 1 and not told:
        raise UsageError(
            f"{folder.path} is empty",
            hint="for a new cluster: heroctl server --bootstrap; to join one: heroctl cluster join "
            "ADDR; after a loss: heroctl snapshot restore FILE",
        )


def _settings(config: Config, key_id: str, *, alone: bool) -> RaftSettings:
    raft = config.raft
    return RaftSettings(
        node_name=config.node.name,
        cluster_name=config.cluster.name,
        key_id=key_id,
        listen=None if alone else raft.listen,
        advertise=raft.advertise,
        peers=raft.peers,
        expect=config.expected_voters,
        election_timeout_s=raft.election_timeout_ms / 1000,
    )


def _config(
    config: str | Path | Config | None, data_dir: str | Path | None, key_file: str | Path | None
) -> Config:
    if isinstance(config, Config):
        return config
    if config is not None:
        from .config.load import load  # YAML and pydantic, only where a file is read

        return load(config)
    if data_dir is None:
        raise UsageError("open() needs a configuration or data_dir")
    keys = (Path(key_file),) if key_file is not None else ()
    return Config(
        cluster=Cluster(bootstrap_expect=1),
        node=Node(data_dir=Path(data_dir)),
        backup=Backup(encryption_key_file=keys),
    )
