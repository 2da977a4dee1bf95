"""The rules of secrets and of the keyring that seals them: both are cipher text here."""

from __future__ import annotations

from typing import Any, Final

from ..codec import pack
from .rows import Rows, check_name, checked_bytes, checked_labels

KEYRING_KEY: Final = "keyring"  # the one row of the table of that name


def put_secret(rows: Rows, body: list[Any]) -> None:
    """Writes a secret: [name, sealed, metadata, expect]."""
    name, sealed, metadata, expect = body
    check_name("secret", name)
    checked_bytes("sealed value", sealed)
    metadata = checked_labels("metadata", metadata)
    stamp = rows.stamp(rows.current("secrets", name, expect))
    row = {
        "created_ms": stamp.created_ms,
        "created_revision": stamp.created_revision,
        "metadata": metadata,
        "modified_ms": stamp.modified_ms,
        "revision": stamp.revision,
        "sealed": sealed,
        "version": stamp.version,
    }
    rows.put("secrets", name, pack(row))


def delete_secret(rows: Rows, body: list[Any]) -> None:
    """Drops a secret: [name, expect]."""
    name, expect = body
    check_name("secret", name)
    rows.existing("secrets", name, expect)
    rows.delete("secrets", name)


def put_keyring(rows: Rows, body: list[Any]) -> None:
    """Writes the wrapped keyring: [wrapped, expect]."""
    wrapped, expect = body
    checked_bytes("wrapped keyring", wrapped)
    stamp = rows.stamp(rows.current("keyring", KEYRING_KEY, expect))
    row = {
        "created_ms": stamp.created_ms,
        "created_revision": stamp.created_revision,
        "modified_ms": stamp.modified_ms,
        "revision": stamp.revision,
        "version": stamp.version,
        "wrapped": wrapped,
    }
    rows.put("keyring", KEYRING_KEY, pack(row))
