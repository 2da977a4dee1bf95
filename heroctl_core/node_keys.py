"""The keys of one node: what encrypts its snapshots, and what wraps the keyring of its secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .config.model import Config
from .crypto.keys import BackupKey, generate_key_file, load_key_file
from .errors import ConfigError

CLUSTER_KEY: Final = "cluster.key"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """`backup`: the first encrypts, all decrypt. `wrapping` wraps the keyring."""

    backup: Sequence[BackupKey]
    wrapping: BackupKey

    @property
    def all(self) -> list[BackupKey]:
        """Everything that may open a keyring or an archive, the wrapping key first."""
        return [self.wrapping, *(k for k in self.backup if k.key_id != self.wrapping.key_id)]


def read_node_keys(config: Config, data_dir: Path) -> NodeKeys:
    """The keys that the configuration names; one embedded node makes its own when it names none.
    NoKey for a file that cannot be used, ConfigError for a cluster without any."""
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
    path = data_dir / CLUSTER_KEY
    if not path.exists():
        generate_key_file(path)
    return NodeKeys(backup, load_key_file(path))
