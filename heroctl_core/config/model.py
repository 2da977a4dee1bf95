"""The configuration as plain values: what server.yaml says once it has been checked.

Must not know YAML, files or the environment: an embedded node builds these values itself and
loads none of the libraries that read them from a file (config/load.py).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .. import limits
from ..errors import ConfigError

API_PORT: Final = 7100
RAFT_PORT: Final = 7101
DEFAULT_CONFIG_FILE: Final = Path("/etc/heroctl/server.yaml")
DEFAULT_DATA_DIR: Final = Path("/var/lib/heroctl")
RUN_SOCKET: Final = Path("/run/heroctl/heroctl.sock")
SOCKET_NAME: Final = "heroctl.sock"
ELECTION_TIMEOUT_MS: Final = (100, 60_000)  # below, a busy machine is taken for a dead one

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
CERTIFICATE_SCHEME: Final = "heroctl://"
NAME_RULE: Final = "1 to 63 letters, digits, '.', '-' and '_', with a letter or digit at both ends"
ADDRESS_RULE: Final = "HOST:PORT, as in 127.0.0.1:7101 or [::1]:7101"


TLS_RULE: Final = "any address with tls: ca_file, cert_file and key_file"


def check_name(name: str) -> str:
    """`name`, when a cluster or node may be called so; ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; allowed: {NAME_RULE}")
    return name


def certificate_uri(cluster: str, node: str | None = None) -> str:
    """What a certificate says of whose it is: a node, or without one the cluster's authority."""
    return CERTIFICATE_SCHEME + (cluster if node is None else f"{cluster}/{node}")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; ValueError when it is none. An IPv6 host stands in brackets."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} is no address; allowed: {ADDRESS_RULE}")
    return host, int(port)


def check_loopback(address: str) -> str:
    """`address`, when only this machine can reach it; ValueError otherwise.

    Without TLS a listener that others can reach would give the whole state away.
    """
    host, _ = split_address(address)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ValueError(
            f"{address!r} can be reached from other machines, which needs TLS;"
            " allowed: a loopback address, as in 127.0.0.1:7101"
        )
    return address


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A text that never shows in a repr, a message or a log; `.value` is the text."""

    value: str

    def __repr__(self) -> str:
        return "Secret(hidden)"


@dataclass(frozen=True, slots=True)
class Cluster:
    """`cluster:` – the name that operators type, and how many nodes make the first start."""

    name: str = "heroctl"
    bootstrap_expect: int | None = None  # None: this node and all its peers


@dataclass(frozen=True, slots=True)
class Node:
    """`node:` – this node's name and its data folder."""

    name: str = "node-1"
    data_dir: Path = DEFAULT_DATA_DIR


@dataclass(frozen=True, slots=True)
class Raft:
    """`raft:` – where the nodes talk to each other. `peers` are the others: name to address."""

    listen: str = f"127.0.0.1:{RAFT_PORT}"
    advertise: str | None = None  # None: the same as listen
    peers: Mapping[str, str] = field(default_factory=dict)
    election_timeout_ms: int = 1000

    @property
    def advertised(self) -> str:
        """The address under which the peers reach this node."""
        return self.advertise or self.listen


@dataclass(frozen=True, slots=True)
class Api:
    """`api:` – where clients talk to this node. `socket` None: see Config.socket_path()."""

    listen: str = f"127.0.0.1:{API_PORT}"
    socket: Path | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """`tls:` – certificates of this node, for the connections between the nodes. All or none."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """`secrets:` – the key file that wraps the keyring; None: the first backup key."""

    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`limits:` – maxima that may differ from node to node. What the replicated state allows is
    the same everywhere (limits.py) and cannot be configured."""

    api_body_bytes: int = limits.API_BODY_BYTES
    api_threads: int = 16


@dataclass(frozen=True, slots=True)
class Storage:
    """One entry of `backup.storage:`, a destination for copies of snapshots."""

    type: str  # s3 | directory
    name: str
    bucket: str | None = None
    region: str | None = None
    prefix: str = ""
    access_key_id: str | None = None
    access_key_id_file: Path | None = None
    secret_access_key: Secret | None = None
    secret_access_key_file: Path | None = None
    endpoint_url: str | None = None
    ca_file: Path | None = None
    addressing_style: str = "auto"  # auto | path | virtual
    provider: str | None = None  # aws | r2 | b2 | wasabi | minio
    path: Path | None = None  # of a directory
    offsite: bool = False
    medium: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreTest:
    """`backup.test_restore:` – the drill."""

    enabled: bool = False
    schedule: str = "0 4 1 * *"
    target: str | None = None  # a name of `clusters:`; None: a scratch node on this machine


@dataclass(frozen=True, slots=True)
class Backup:
    """`backup:` – the guide's block, and what is needed beyond it."""

    enabled: bool = False
    schedule: str = "0 3 * * *"
    timezone: str = "UTC"
    jitter_s: int = 0
    retention_days: int = 30
    keep_at_least: int = 3
    storage: tuple[Storage, ...] = ()
    encryption_key_file: tuple[Path, ...] = ()  # the first encrypts, all decrypt
    encryption_recipients: tuple[str, ...] = ()
    test_restore: RestoreTest = field(default_factory=RestoreTest)


@dataclass(frozen=True, slots=True)
class Alert:
    """One entry of `alerts:`, a channel that hears about failures."""

    type: str  # webhook | smtp | apprise
    name: str
    url: Secret | None = None
    url_file: Path | None = None
    signing_key_file: Path | None = None
    server: str | None = None
    sender: str | None = None
    to: tuple[str, ...] = ()
    user: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """One entry of `clusters:`, a cluster that a drill may use."""

    addr: str
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Drill:
    """`drill:` – whether this cluster lends itself to the drills of another one."""

    may_be_wiped: bool = False
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that server.yaml says. An impossible combination cannot be built: ConfigError."""

    cluster: Cluster = field(default_factory=Cluster)
    node: Node = field(default_factory=Node)
    raft: Raft = field(default_factory=Raft)
    api: Api = field(default_factory=Api)
    tls: Tls = field(default_factory=Tls)
    secrets: Secrets = field(default_factory=Secrets)
    limits: Limits = field(default_factory=Limits)
    backup: Backup = field(default_factory=Backup)
    alerts: tuple[Alert, ...] = ()
    clusters: Mapping[str, NamedCluster] = field(default_factory=dict)
    drill: Drill = field(default_factory=Drill)

    def __post_init__(self) -> None:
        try:
            check_name(self.cluster.name)
            check_name(self.node.name)
            check_loopback(self.api.listen)
            for address in (self.raft.listen, self.raft.advertised):
                split_address(address)
            for name, address in self.raft.peers.items():
                check_name(name)
                split_address(address)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        found = contradiction(self)
        if found:
            raise ConfigError(": ".join(found))

    @property
    def has_tls(self) -> bool:
        """Whether the nodes talk to each other over TLS."""
        return self.tls.cert_file is not None

    @property
    def expected_voters(self) -> int:
        """How many nodes must have answered before the first start makes a cluster."""
        return self.cluster.bootstrap_expect or len(self.raft.peers) + 1

    def socket_path(self) -> Path:
        """Where this node's unix socket is: as configured, else in the data folder.

        A server with the default data folder uses /run/heroctl when that folder exists: the unit
        makes it. Any other node must not take that name away from it.
        """
        if self.api.socket is not None:
            return self.api.socket
        if self.node.data_dir == DEFAULT_DATA_DIR and RUN_SOCKET.parent.is_dir():
            return RUN_SOCKET
        return self.node.data_dir / SOCKET_NAME


def contradiction(config: Config) -> tuple[str, str] | None:
    """The key and the reason of the first two values that do not go together, or None."""
    nodes = len(config.raft.peers) + 1
    if config.node.name in config.raft.peers:
        return "raft.peers", f"{config.node.name!r} is this node; allowed: the other nodes"
    shortest, longest = ELECTION_TIMEOUT_MS
    if not shortest <= config.raft.election_timeout_ms <= longest:
        told = f"is {config.raft.election_timeout_ms}; allowed: {shortest} to {longest}"
        return "raft.election_timeout_ms", told
    if (config.cluster.bootstrap_expect or 1) > nodes:
        return (
            "cluster.bootstrap_expect",
            f"is {config.cluster.bootstrap_expect}, but this node and raft.peers are {nodes}",
        )
    addresses = [config.raft.advertised, *config.raft.peers.values()]
    twice = next((a for a in addresses if addresses.count(a) > 1), None)
    if twice:
        return "raft.peers", f"{twice} is the address of two nodes"
    if found := _transport_fault(config):
        return found
    if config.raft.listen == config.api.listen:
        return "api.listen", f"{config.api.listen} is the address of raft.listen too"
    return None


def _transport_fault(config: Config) -> tuple[str, str] | None:
    """What is wrong with how the nodes reach each other."""
    given = [path is not None for path in (config.tls.ca_file, config.tls.cert_file,
                                           config.tls.key_file)]  # fmt: skip
    if any(given) and not all(given):
        return "tls", "ca_file, cert_file and key_file belong together; allowed: all or none"
    if config.has_tls:
        host, _ = split_address(config.raft.advertised)
        nowhere = f"no peer can reach {host}; allowed: this node's own address"
        return ("raft.advertise", nowhere) if host in ("0.0.0.0", "::") else None  # noqa: S104
    for key, address in (("listen", config.raft.listen), ("advertise", config.raft.advertised)):
        try:
            check_loopback(address)
        except ValueError as error:
            return f"raft.{key}", f"{error}, or {TLS_RULE}"
    return None
