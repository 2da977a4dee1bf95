"""The keys and certificates of one node: what encrypts its snapshots, what wraps the keyring of its
secrets, and what it shows to the other nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .clock import Clock
from .codec import unpack
from .config.model import Config
from .crypto.keys import BackupKey, generate_key_file, load_key_file
from .crypto.sealed import wrapped_key_id
from .errors import ConfigError, NoKey
from .raft.credentials import Credentials, TlsFiles
from .raft.folder import DataFolder
from .raft.greeting import PROOF_LABEL, Certificate
from .raft.stored import read_stored
from .state.secrets import KEYRING_KEY

CLUSTER_KEY: Final = "cluster.key"


def proof_key(key: BackupKey) -> bytes:
    """The key by which nodes prove to each other that they have `key`."""
    return key.derive(PROOF_LABEL)


def read_credentials(config: Config, clock: Clock) -> Credentials | None:
    """The certificates that the configuration names, None without any. ConfigError."""
    tls = config.tls
    if tls.ca_file is None or tls.cert_file is None or tls.key_file is None:
        return None
    owner = Certificate(config.cluster.name, config.node.name)
    return Credentials(TlsFiles(tls.ca_file, tls.cert_file, tls.key_file, owner), clock)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """`backup`: the first encrypts, all decrypt. `wrapping` wraps the keyring."""

    backup: Sequence[BackupKey]
    wrapping: BackupKey

    @property
    def all(self) -> list[BackupKey]:
        """Everything that may open a keyring or an archive, the wrapping key first."""
        return [self.wrapping, *(k for k in self.backup if k.key_id != self.wrapping.key_id)]


def read_node_keys(config: Config, folder: DataFolder) -> NodeKeys:
    """The keys that the configuration names; one embedded node makes its own when it names none.
    NoKey for a file that cannot be used or is needed, ConfigError for a cluster without any."""
    backup = tuple(load_key_file(path) for path in config.backup.encryption_key_file)
    if config.secrets.key_file is not None:
        return NodeKeys(backup, load_key_file(config.secrets.key_file))
    if backup:
        return NodeKeys(backup, backup[0])
    if config.raft.peers:
        raise ConfigError(
            "a cluster of several nodes needs a key that all of them have: "
            "backup.encryption_key_file or secrets.key_file",
            hint="heroctl key generate FILE, then copy it to each node",
        )
    path = folder.path / CLUSTER_KEY
    if not path.exists():
        _refuse_sealed(folder)
        generate_key_file(path)
    return NodeKeys(backup, load_key_file(path))


def _refuse_sealed(folder: DataFolder) -> None:
    """NoKey when secrets in the folder are sealed under a key that exists somewhere: a new one
    would open none of them, and would look as if it were the right one."""
    if folder.header is None:
        return
    stored = read_stored(folder.generation_folder, folder.header, include_uncommitted=True)
    row = stored.machine.get("keyring", KEYRING_KEY)
    if row is not None:
        raise NoKey(
            f"the secrets in {folder.path} need key {wrapped_key_id(unpack(row)['wrapped'])}, "
            "and no key was given",
            hint="give its file to open(key_file=...), name it in backup.encryption_key_file or "
            f"secrets.key_file, or put it at {folder.path / CLUSTER_KEY}",
        )
