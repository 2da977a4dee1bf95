"""The content of an archive as a state machine, every secret opened once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..codec import pack, unpack
from ..crypto.keys import BackupKey
from ..crypto.sealed import Keyring
from ..errors import Damaged, StateDefect
from ..snapshot.archive import Archive
from ..snapshot.manifest import DIGESTS
from ..state.acl import POLICY_PREFIX
from ..state.machine import DumpState, Row, StateMachine, View
from ..state.requests import Requests
from ..state.secrets import KEYRING_KEY


@dataclass(frozen=True, slots=True)
class Content:
    """A verified archive, decoded: revision, epoch and time of `view` are the archive's, and its
    table of the keyring is empty. `keyring` is None when the cluster never had one."""

    view: View
    keyring: Keyring | None


def read_content(archive: Archive, keys: Sequence[BackupKey]) -> Content:
    """Verifies the whole archive, then decodes it; nothing of a bad one is given out. WrongKey
    for an unencrypted archive whose keyring none of `keys` opens."""
    secrets = _Secrets(keys, encrypted=archive.manifest.encryption is not None)
    archive.verify(checks={"keyring": secrets.take_keyring, "secrets": secrets.check})
    head = archive.manifest.header
    view = _view(_rows(archive), head.revision, head.epoch, head.time_ms)
    return Content(view, secrets.keyring)


def state_for(
    content: Content,
    wrapping: BackupKey | None,
    *,
    revision: int,
    epoch: int,
    time_ms: int,
    revoke_tokens: bool,
) -> DumpState:
    """What the new generation begins with; the keyring, if there is one, wrapped for this node."""
    view = content.view
    tables = dict(view.tables)
    if content.keyring is not None and wrapping is not None:
        row = _keyring_row(view, content.keyring.wrap(wrapping))
        tables["keyring"] = _view([("keyring", KEYRING_KEY, row)], revision).tables["keyring"]
    if revoke_tokens:
        policies = [("acl", key, row) for key, row in view.items("acl", POLICY_PREFIX)]
        tables["acl"] = _view(policies, revision).tables["acl"]
    return DumpState(View(revision, epoch, time_ms, tables), Requests())


def _view(rows: Iterable[Row], revision: int, epoch: int = 1, time_ms: int = 0) -> View:
    machine = StateMachine()
    try:
        machine.load(rows, revision=revision, epoch=epoch, time_ms=time_ms)
    except (ValueError, StateDefect) as error:
        raise Damaged(f"the archive's rows make no state: {error}") from error
    return machine.view()


def _rows(archive: Archive) -> Iterator[Row]:
    for entry in archive.manifest.sections:
        if entry.name not in (DIGESTS, "keyring"):
            for key, row in archive.records(entry.name):
                yield entry.name, key, row


def _keyring_row(view: View, wrapped: bytes) -> bytes:
    """The row as state/secrets.put_keyring writes it; its history is not in an archive."""
    revision = max(view.revision, 1)
    return pack(
        {
            "created_ms": view.time_ms,
            "created_revision": revision,
            "modified_ms": view.time_ms,
            "revision": revision,
            "version": 1,
            "wrapped": wrapped,
        }
    )


class _Secrets:
    """Opens every secret with the keyring of the archive, whose section comes first."""

    def __init__(self, keys: Sequence[BackupKey], *, encrypted: bool) -> None:
        self._keys = keys
        self._encrypted = encrypted
        self.keyring: Keyring | None = None

    def take_keyring(self, key: str, record: bytes) -> None:
        if key != KEYRING_KEY:
            raise Damaged(f"section keyring: a record {key!r}")
        if self._encrypted:
            self.keyring = Keyring.load(record)
        else:
            self.keyring = Keyring.unwrap(unpack(record)["wrapped"], self._keys)

    def check(self, name: str, row: bytes) -> None:
        if self.keyring is None:
            raise Damaged(f"secret {name}: the archive has no keyring")
        self.keyring.open(name, unpack(row)["sealed"])
