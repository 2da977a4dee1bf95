"""The key of one archive: keys.json, which wraps it, and what is derived from it."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..crypto.keys import BackupKey, Unwrap, derive
from ..crypto.sealed import ids_of
from ..errors import Damaged, NoKey, UnsupportedVersion, WrongKey
from .manifest import Encryption
from .strict_json import dump_json, load_json, read_list, read_text

FILE_KEY_BYTES: Final = 32
ALGORITHM: Final = "AES-256-KW"
_WRAPPED_BYTES: Final = FILE_KEY_BYTES + 8
_SLOTS_MAX: Final = 64
_HEX_16: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What HKDF makes of a file key. `commit` is public: it is the manifest's key_check."""

    data: bytes
    mac: bytes
    commit: bytes

    @classmethod
    def of(cls, file_key: bytes) -> FileKeys:
        """The three keys of a random file key."""
        label = "heroctl archive v1 {}".format
        return cls(*(derive(file_key, label(use)) for use in ("data", "mac", "commit")))

    @property
    def encryption(self) -> Encryption:
        """What the manifest says about them."""
        return Encryption(self.commit.hex())

    def seal(self, sums: bytes) -> bytes:
        """The content of SEAL: HMAC-SHA256 of SHA256SUMS in hex, and a line feed."""
        return hmac.digest(self.mac, sums, "sha256").hex().encode() + b"\n"

    def __repr__(self) -> str:
        return "FileKeys()"


@dataclass(frozen=True, slots=True)
class KeySlot:
    """The file key wrapped for one backup key."""

    key_id: str
    wrapped: bytes


def wrap_file_key(file_key: bytes, key: BackupKey) -> bytes:
    """The content of keys.json for one backup key."""
    return dump_json(
        {
            "keys": [
                {
                    "algorithm": ALGORITHM,
                    "key_id": key.key_id,
                    "wrapped": base64.b64encode(key.wrap(file_key)).decode(),
                }
            ]
        }
    )


def parse_slots(data: bytes, place: str) -> tuple[KeySlot, ...]:
    """The slots in keys.json; UnsupportedVersion for a way of wrapping of a later release."""
    try:
        tree = load_json(data)
        slots = tuple(_slot(item, place) for item in read_list(tree, "keys", _SLOTS_MAX))
        if not slots:
            raise ValueError("no key")
    except ValueError as error:
        raise Damaged(f"{place}: {error}") from error
    return slots


def open_file_key(
    slots: Sequence[KeySlot], keys: Sequence[BackupKey], key_check: str, place: str
) -> FileKeys:
    """The keys of the archive. NoKey without any key, WrongKey when none of them has a slot: the
    archive itself must have been found whole before, or these two would be guesses."""
    needed = ", ".join(slot.key_id for slot in slots)
    if not keys:
        raise NoKey(
            f"{place} is encrypted for key {needed}, and no key was given",
            hint="give the key file of the cluster that made it: --key-file FILE",
        )
    fitting = [(slot, key) for slot in slots for key in keys if slot.key_id == key.key_id]
    if not fitting:
        raise WrongKey(
            f"{place} needs key {needed}, the given key files have {ids_of(keys)}",
            hint="give the key file of the cluster that made it: --key-file FILE",
        )
    slot, key = fitting[0]
    try:
        found = FileKeys.of(key.unwrap(slot.wrapped))
    except Unwrap as error:
        raise Damaged(f"{place}: keys.json: wrapped key damaged") from error
    if not hmac.compare_digest(found.commit.hex(), key_check):
        raise Damaged(f"{place}: keys.json does not belong to this manifest.json")
    return found


def _slot(item: Any, place: str) -> KeySlot:
    if not isinstance(item, dict):
        raise ValueError("a key is no object")
    algorithm = read_text(item, "algorithm")
    if algorithm != ALGORITHM:
        raise UnsupportedVersion(
            f"{place}: the file key is wrapped by {algorithm}, this heroctl knows {ALGORITHM}",
            hint="install the heroctl that made it, or a newer one",
        )
    key_id = read_text(item, "key_id")
    if _HEX_16.fullmatch(key_id) is None:
        raise ValueError("key_id is not 16 hex digits")
    try:
        wrapped = base64.b64decode(read_text(item, "wrapped"), validate=True)
    except binascii.Error as error:
        raise ValueError("wrapped is not base64") from error
    if len(wrapped) != _WRAPPED_BYTES:
        raise ValueError(f"wrapped has {len(wrapped)} bytes, not {_WRAPPED_BYTES}")
    return KeySlot(key_id, wrapped)
