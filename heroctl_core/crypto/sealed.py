"""One small sealed value, and the keyring that seals them.

Secrets are sealed before they are proposed, so the log, the dump and the wire hold cipher text
only. The data keys travel wrapped by the backup key, or inside an encrypted archive.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..codec import pack, unpack
from ..errors import Damaged, NoKey, WrongKey
from .keys import KEY_BYTES, KEY_ID_BYTES, BackupKey

KEYRING_ID_BYTES: Final = 16
DATA_KEYS: Final = 1000  # in one keyring

_FORMAT: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_SECRET_LABEL: Final = b"heroctl secret v1"
_WRAP_LABEL: Final = "heroctl keyring v1"
_DATA_ID_LABEL: Final = b"heroctl data key id"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The data keys of a cluster, of which one seals and all open. Never shows its keys."""

    keyring_id: bytes
    active: bytes
    _keys: Mapping[bytes, bytes] = field(repr=False)
    # Making a cipher takes longer than opening one secret with it; a backup opens all of them.
    _ciphers: dict[bytes, AESGCM] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def create(cls) -> Self:
        """A keyring with one random data key and a random id."""
        key = secrets.token_bytes(KEY_BYTES)
        key_id = _data_key_id(key)
        return cls(secrets.token_bytes(KEYRING_ID_BYTES), key_id, _frozen({key_id: key}))

    def seal(self, name: str, value: bytes) -> bytes:
        """Cipher text that opens only under this name: format, data key id, nonce, AES-GCM."""
        number = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._cipher(self.active, self._keys[self.active])
        text = cipher.encrypt(number, value, _secret_binding(name, self.active))
        return _FORMAT + self.active + number + text

    def open(self, name: str, sealed: bytes) -> bytes:
        """The value. WrongKey when the data key is not in this keyring, Damaged when the bytes
        were changed or belong to another name."""
        key_id, number, text = _parts(sealed, f"secret {name}")
        key = self._keys.get(key_id)
        if key is None:
            raise WrongKey(
                f"secret {name} is sealed by data key {key_id.hex()}, which is not in the keyring"
            )
        try:
            cipher = self._cipher(key_id, key)
            return cipher.decrypt(number, text, _secret_binding(name, key_id))
        except InvalidTag as error:
            raise Damaged(f"secret {name}: tag mismatch") from error

    def _cipher(self, key_id: bytes, key: bytes) -> AESGCM:
        """The cipher of one data key; any thread."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            cipher = self._ciphers[key_id] = AESGCM(key)
        return cipher

    def export(self) -> bytes:
        """All keys in the clear: only for inside an encrypted archive, or under wrap()."""
        return pack([1, self.keyring_id, self.active, [list(item) for item in self._keys.items()]])

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The keyring that was exported; Damaged for anything else."""
        try:
            version, keyring_id, active, items = unpack(data)
            keys = dict(items)
        except (ValueError, TypeError) as error:
            raise Damaged("the keyring cannot be read") from error
        if not _is_sound(version, keyring_id, active, keys, len(items)):
            raise Damaged("the keyring cannot be read")
        return cls(keyring_id, active, _frozen(keys))

    def wrap(self, key: BackupKey) -> bytes:
        """The keyring under a backup key: format, key id, nonce, AES-GCM of export()."""
        head = _FORMAT + bytes.fromhex(key.key_id)
        number = secrets.token_bytes(_NONCE_BYTES)
        return head + number + AESGCM(key.derive(_WRAP_LABEL)).encrypt(number, self.export(), head)

    @classmethod
    def unwrap(cls, data: bytes, keys: Sequence[BackupKey]) -> Self:
        """The keyring that wrap() took. NoKey without keys, WrongKey when none of them is the one
        that wrapped it (the message names both sides), Damaged when the bytes were changed."""
        wrapped_by, number, text = _parts(data, "wrapped keyring")
        key = next((key for key in keys if key.key_id == wrapped_by.hex()), None)
        if key is None:
            needs = f"the keyring is wrapped by key {wrapped_by.hex()}"
            if not keys:
                raise NoKey(f"{needs}, and no key was given")
            raise WrongKey(f"{needs}, the given key files have {ids_of(keys)}")
        try:
            cipher = AESGCM(key.derive(_WRAP_LABEL))
            plain = cipher.decrypt(number, text, _FORMAT + wrapped_by)
        except InvalidTag as error:
            raise Damaged("wrapped keyring: tag mismatch") from error
        return cls.load(plain)


def ids_of(keys: Sequence[BackupKey]) -> str:
    """The key ids, with the files they came from, for a message."""
    return ", ".join(f"{key.key_id} ({key.source})" if key.source else key.key_id for key in keys)


def wrapped_key_id(data: bytes) -> str:
    """The id of the backup key that wrapped a keyring; opens nothing."""
    return _parts(data, "wrapped keyring")[0].hex()


def _frozen(keys: dict[bytes, bytes]) -> Mapping[bytes, bytes]:
    return MappingProxyType(keys)


def _data_key_id(key: bytes) -> bytes:
    return hmac.digest(key, _DATA_ID_LABEL, "sha256")[:KEY_ID_BYTES]


def _secret_binding(name: str, key_id: bytes) -> bytes:
    return _SECRET_LABEL + name.encode() + key_id  # the id has a fixed length: no two read alike


def _parts(data: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """Key id, nonce and cipher text."""
    start = len(_FORMAT) + KEY_ID_BYTES
    if len(data) < start + _NONCE_BYTES + _TAG_BYTES or data[:1] != _FORMAT:
        raise Damaged(f"{what}: {len(data)} bytes that are not of format 1")
    return data[1:start], data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES :]


def _is_sound(
    version: object, keyring_id: object, active: object, keys: dict[bytes, bytes], items: int
) -> bool:
    return (
        version == 1
        and isinstance(keyring_id, bytes)
        and len(keyring_id) == KEYRING_ID_BYTES
        and isinstance(active, bytes)
        and active in keys
        and len(keys) == items <= DATA_KEYS
        and all(
            isinstance(key, bytes) and len(key) == KEY_BYTES and _data_key_id(key) == key_id
            for key_id, key in keys.items()
        )
    )
