"""This machine's data folder and key files, for commands that work without a running node.

Flag before environment before configuration file before default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heroctl_core.config.model import DEFAULT_CONFIG_FILE, DEFAULT_DATA_DIR, Config
from heroctl_core.crypto.keys import BackupKey, load_key_file

if TYPE_CHECKING:
    from heroctl_core.offline import Local

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="HEROCTL_DATA_DIR",
    help="Data folder of a stopped node (HEROCTL_DATA_DIR).",
)
key_file_option = click.option(
    "--key-file",
    "key_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Key file of the archive (HEROCTL_KEY_FILE); may be given several times.",
)
unencrypted_option = click.option(
    "--unencrypted", is_flag=True, help="Yes, an archive that anybody can read."
)


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine says about its node. `config` is None where there is no file."""

    data_dir: Path
    key_files: tuple[Path, ...]
    config: Config | None

    @property
    def has_node(self) -> bool:
        """True when the data folder belongs to a node."""
        return (self.data_dir / "node.json").exists()

    def keys(self) -> list[BackupKey]:
        """The keys of the key files; NoKey for a file that cannot be used."""
        return [load_key_file(path) for path in self.key_files]

    def stopped(self) -> Local:
        """The same for the offline half of the library: names, address and peers included."""
        from heroctl_core.offline import Local  # loads half of the library

        config = self.config
        if config is None:
            return Local(self.data_dir, self.keys())
        own = config.backup.encryption_key_file
        # As node_keys.py picks it: a cluster.key in the folder counts only without these.
        wrapping = config.secrets.key_file or (own[0] if own and own == self.key_files else None)
        return Local(
            self.data_dir,
            self.keys(),
            wrapping=None if wrapping is None else load_key_file(wrapping),
            node_name=config.node.name,
            cluster_name=config.cluster.name,
            address=config.raft.advertised,
            peers=config.raft.peers,
        )


def resolve(data_dir: Path | None, key_files: tuple[Path, ...] = ()) -> Here:
    """Data folder and key files of this machine's node."""
    config = _config()
    named = os.environ.get("HEROCTL_KEY_FILE")
    if not key_files and named:
        key_files = (Path(named),)
    if not key_files and config is not None:
        key_files = config.backup.encryption_key_file
    if data_dir is None:
        data_dir = config.node.data_dir if config is not None else DEFAULT_DATA_DIR
    return Here(data_dir, key_files, config)


def _config() -> Config | None:
    """The configuration that is named, or the default one where it can be read."""
    named = os.environ.get("HEROCTL_CONFIG")
    if not named and not os.access(DEFAULT_CONFIG_FILE, os.R_OK):
        return None
    from heroctl_core.config.load import load

    return load(named or DEFAULT_CONFIG_FILE)
