"""The content of an archive as a state machine, every secret opened once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..codec import pack, unpack
from ..crypto.keys import BackupKey
from ..crypto.sealed import Keyring
from ..errors import Damaged, StateDefect
from ..snapshot.archive import Archive
from ..snapshot.manifest import DIGESTS
from ..state.acl import TOKEN_PREFIX
from ..state.invariants import violations
from ..state.machine import Row, StateMachine
from ..state.secrets import KEYRING_KEY


@dataclass(frozen=True, slots=True)
class Content:
    """A verified archive, decoded. `keyring` is None when the cluster never had one."""

    rows: StateMachine  # revision, epoch and time are the archive's
    keyring: Keyring | None
    violations: tuple[str, ...]  # what an intact state would not have


def read_content(archive: Archive, keys: Sequence[BackupKey]) -> Content:
    """Verifies the whole archive, then decodes it; nothing of a bad one is given out. WrongKey
    for an unencrypted archive whose keyring none of `keys` opens."""
    secrets = _Secrets(keys, encrypted=archive.manifest.encryption is not None)
    archive.verify(checks={"keyring": secrets.take_keyring, "secrets": secrets.check})
    head, machine = archive.manifest.header, StateMachine()
    try:
        machine.load(_rows(archive), revision=head.revision, epoch=head.epoch, time_ms=head.time_ms)
    except (ValueError, StateDefect) as error:
        raise Damaged(f"the archive's rows make no state: {error}") from error
    return Content(machine, secrets.keyring, tuple(violations(machine.view())))


def machine_for(
    content: Content,
    wrapping: BackupKey | None,
    *,
    revision: int,
    epoch: int,
    time_ms: int,
    revoke_tokens: bool,
) -> StateMachine:
    """The machine that the new generation begins with; the keyring, if there is one, wrapped for
    this node."""
    machine = StateMachine()
    machine.load(
        _chosen(content, wrapping, revoke_tokens=revoke_tokens),
        revision=revision,
        epoch=epoch,
        time_ms=time_ms,
    )
    return machine


def _rows(archive: Archive) -> Iterator[Row]:
    for entry in archive.manifest.sections:
        if entry.name not in (DIGESTS, "keyring"):
            for key, row in archive.records(entry.name):
                yield entry.name, key, row


def _chosen(content: Content, wrapping: BackupKey | None, *, revoke_tokens: bool) -> Iterator[Row]:
    if content.keyring is not None and wrapping is not None:
        yield "keyring", KEYRING_KEY, _keyring_row(content.rows, content.keyring.wrap(wrapping))
    for kind, key, row in content.rows.view().rows():
        if not (revoke_tokens and kind == "acl" and key.startswith(TOKEN_PREFIX)):
            yield kind, key, row


def _keyring_row(rows: StateMachine, wrapped: bytes) -> bytes:
    """The row as state/secrets.put_keyring writes it; its history is not in an archive."""
    revision = max(rows.revision, 1)
    return pack(
        {
            "created_ms": rows.time_ms,
            "created_revision": revision,
            "modified_ms": rows.time_ms,
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
