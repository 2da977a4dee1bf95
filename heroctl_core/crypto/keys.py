"""The backup key: how it is read and made, and the few things that may be done with it.

Its bytes never leave this module: other modules ask it to wrap, unwrap or derive.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Never

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from .. import limits
from ..errors import FileFault, NoKey, UsageError
from ..files import read_private, write_atomic

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
_ID_LABEL: Final = b"heroctl key id"


class Unwrap(ValueError):
    """The wrapped bytes do not fit this key: damaged, or wrapped by another key."""


def key_id_of(key: bytes) -> bytes:
    """The first 8 bytes of HMAC-SHA256(key, "heroctl key id"): names a key, says nothing of it."""
    return hmac.digest(key, _ID_LABEL, "sha256")[:KEY_ID_BYTES]


def derive(key: bytes, label: str) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869) without salt; `label` is the info."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label.encode()).derive(key)


class BackupKey:
    """32 secret bytes that show only their id. Cannot be printed, copied or pickled.

    `source` is where it came from, for messages.
    """

    __slots__ = ("_key", "key_id", "source")

    _key: bytes
    key_id: str
    source: str

    def __init__(self, key: bytes, *, source: str = "") -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a backup key has {KEY_BYTES} bytes, not {len(key)}")
        object.__setattr__(self, "_key", bytes(key))
        object.__setattr__(self, "key_id", key_id_of(key).hex())
        object.__setattr__(self, "source", source)

    def wrap(self, file_key: bytes) -> bytes:
        """40 bytes: a 32-byte key wrapped by AES-256 key wrap (RFC 3394)."""
        return aes_key_wrap(self._key, file_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """What wrap() took; raises Unwrap."""
        try:
            return aes_key_unwrap(self._key, wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise Unwrap("the wrapped key does not fit") from error

    def derive(self, label: str) -> bytes:
        """A key for one purpose; see derive()."""
        return derive(self._key, label)

    def __repr__(self) -> str:
        return f"BackupKey({self.key_id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BackupKey) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"a backup key does not change: {name}")

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a backup key is not written down by accident: it cannot be pickled")


def credential_path(path: Path | str, environ: Mapping[str, str] | None = None) -> Path:
    """The file that systemd handed in under the same base name, else `path` itself."""
    folder = (os.environ if environ is None else environ).get("CREDENTIALS_DIRECTORY")
    if folder:
        credential = Path(folder) / Path(path).name
        if credential.is_file():
            return credential
    return Path(path)


def load_key_file(path: Path | str, environ: Mapping[str, str] | None = None) -> BackupKey:
    """The key in a file of `openssl rand -base64 32`; NoKey says what is wrong with the file."""
    found = credential_path(path, environ)
    try:
        # systemd's folder is private itself, and its files have systemd's mode.
        text = read_private(found, max_bytes=limits.KEY_FILE_BYTES, any_mode=found != Path(path))
    except FileFault as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        hint = f"make one with: heroctl key generate {path}" if is_missing else error.hint
        raise NoKey(f"key file {error.message}", hint=hint) from error
    return BackupKey(_decoded(found, text), source=str(path))


def generate_key_file(path: Path | str) -> BackupKey:
    """A new random key, in a new file of mode 0600; never in place of an existing file."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        write_atomic(path, base64.b64encode(key) + b"\n", mode=0o600, overwrite=False)
    except UsageError as error:
        hint = "a key is never replaced, archives may need it: choose another name"
        raise UsageError(error.message, hint=hint) from error
    return BackupKey(key, source=str(path))


def _decoded(path: Path, text: bytes) -> bytes:
    """The bytes behind base64. No message may quote the file."""
    stripped = text.strip()
    if not stripped:
        raise NoKey(f"key file {path} is empty")
    try:
        key = base64.b64decode(stripped, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoKey(
            f"key file {path} is not base64",
            hint="the file holds one line, as made by: openssl rand -base64 32",
        ) from error
    if len(key) != KEY_BYTES:
        raise NoKey(
            f"key file {path} holds {len(key)} bytes, a backup key has {KEY_BYTES}",
            hint="the file holds one line, as made by: openssl rand -base64 32",
        )
    return key
