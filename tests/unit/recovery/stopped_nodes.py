"""Stopped nodes for the tests of recovery: real folders, logs and archives, without an engine."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from heroctl_core import offline
from heroctl_core.codec import pack, pack_canonical, unpack
from heroctl_core.crypto.keys import BackupKey
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.log import Log
from heroctl_core.raft.stored import read_stored
from heroctl_core.state.acl import TOKEN_PREFIX
from heroctl_core.state.commands import (
    Command,
    DeleteJob,
    DeleteToken,
    Envelope,
    PutJob,
    PutKeyring,
    PutPolicy,
    PutSecret,
    PutToken,
    encode,
)
from heroctl_core.state.machine import View
from heroctl_core.state.secrets import KEYRING_KEY
from heroctl_core.testing.clock import ManualClock

CLUSTER = "prod"
T0 = 1_780_000_000_000
KEY = BackupKey(b"k" * 32)
OTHER_KEY = BackupKey(b"o" * 32)
VOTERS = {f"{n}" * 32: (f"node-{n}", f"127.0.0.1:{7100 + n}") for n in (1, 2, 3)}


@dataclass(slots=True)
class StoppedNode:
    """One data folder that is written like a node does it, and not locked between the calls."""

    path: Path
    voters: int = 3
    cluster_id: str = ""
    clock: ManualClock = field(default_factory=lambda: ManualClock(T0))
    _number: int = 0

    def begin(self) -> StoppedNode:
        """Founds a cluster in which this node, node-1, is one of the voters."""
        folder = DataFolder.open(self.path, node_name="node-1", cluster_name=CLUSTER)
        others = dict(list(VOTERS.items())[1 : self.voters])
        header = folder.found(CLUSTER, {folder.member_id: ("node-1", "127.0.0.1:7101"), **others})
        self.cluster_id = header.cluster_id
        log = Log.open(folder.generation_folder / "log")
        log.set_term(1, folder.member_id)
        log.append(b"\x01", 2, 1)
        log.set_commit(2)
        log.sync()
        log.close()
        folder.close()
        return self

    def write(self, *commands: Command, committed: bool = True) -> None:
        """Appends one entry with these commands."""
        folder = DataFolder.open_existing(self.path)
        log = Log.open(folder.generation_folder / "log")
        envelopes = []
        for command in commands:
            self._number += 1
            number = self._number.to_bytes(16)
            envelopes.append(encode(Envelope(number, T0 + self._number, "root", "test", command)))
        time_ms = T0 + self._number
        term = max(log.term, 1)
        log.append(b"\x00" + pack([time_ms, envelopes]), log.last_index + 1, term)
        if committed:
            log.set_commit(log.last_index)
        log.sync()
        log.close()
        folder.close()

    def fill(self) -> StoppedNode:
        """A keyring, a secret, two jobs, a policy and two tokens."""
        keyring = Keyring.create()
        self.write(PutKeyring(keyring.wrap(KEY), None))
        sealed = keyring.seal("db-password", b"hunter2")
        self.write(job("web", 1), job("db", 1), PutSecret("db-password", sealed, {}, None))
        rules = [{"actions": ["read"], "effect": "allow", "name": "*", "resource": "job"}]
        self.write(PutPolicy("readers", rules, None))
        self.write(token("ci"), token("old"))
        return self

    def view(self, *, include_uncommitted: bool = True) -> View:
        """The state on disk."""
        folder = DataFolder.open_existing(self.path)
        try:
            assert folder.header is not None
            stored = read_stored(
                folder.generation_folder, folder.header, include_uncommitted=include_uncommitted
            )
            return stored.machine.view()
        finally:
            folder.close()

    def local(self) -> offline.Local:
        return offline.Local(self.path, [KEY])

    def save(self, target: Path) -> Path:
        """An archive of the state on disk."""
        offline.save(self.local(), target, clock=self.clock)
        return target


def copy_node(source: Path, target: Path) -> None:
    """Copies a folder; of a log's segment, which is mostly zeros, only the beginning."""

    def copy(one: str, other: str) -> None:
        data = Path(one).read_bytes()
        Path(other).write_bytes(data if len(data) < 1 << 20 else data[: 1 << 16])
        os.truncate(other, len(data))
        shutil.copymode(one, other)

    shutil.copytree(source, target, copy_function=copy)


def job(name: str, replicas: int) -> PutJob:
    return PutJob(name, pack_canonical({"image": "shop/web:1", "replicas": replicas}), {}, None)


def token(name: str, expires_ms: int | None = None) -> PutToken:
    return PutToken(name, name, b"h" * 32, ["readers"], expires_ms, None)


def life_after_the_snapshot(node: StoppedNode) -> None:
    """One job new, one changed, one gone, one token revoked."""
    node.write(job("new", 1), job("web", 9), DeleteJob("db", None), DeleteToken("old", None))


def rows(view: View) -> dict[tuple[str, str], bytes]:
    """Every row but the keyring's, which each node wraps anew."""
    return {(kind, key): row for kind, key, row in view.rows() if kind != "keyring"}


def opened_secret(view: View, key: BackupKey) -> bytes:
    """The plain value of the one secret, by way of the keyring in the state."""
    wrapped = view.get("keyring", KEYRING_KEY)
    secret = view.get("secrets", "db-password")
    assert wrapped is not None
    assert secret is not None
    keyring = Keyring.unwrap(unpack(wrapped)["wrapped"], [key])
    return keyring.open("db-password", unpack(secret)["sealed"])


def has_token(view: View, name: str) -> bool:
    return view.get("acl", TOKEN_PREFIX + name) is not None
