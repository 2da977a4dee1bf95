"""The rules of secrets and of the keyring that seals them: both are cipher text here."""

from __future__ import annotations

from typing import Any, Final

from .rows import Rows, check_name, checked_bytes, checked_labels

KEYRING_KEY: Final = "keyring"  # the one row of the table of that name


def put_secret(rows: Rows, body: list[Any]) -> None:
    """Writes a secret: [name, sealed, metadata, expect]."""
    name, sealed, metadata, expect = body
    check_name("secret", name)
    checked_bytes("sealed value", sealed)
    metadata = checked_labels("metadata", metadata)
    fields = {"metadata": metadata, "sealed": sealed}
    rows.put("secrets", name, rows.stamped(rows.current("secrets", name, expect), fields))


def delete_secret(rows: Rows, body: list[Any]) -> None:
    """Drops a secret: [name, expect]."""
    rows.drop("secrets", "secret", body)


def put_keyring(rows: Rows, body: list[Any]) -> None:
    """Writes the wrapped keyring: [wrapped, expect]."""
    wrapped, expect = body
    checked_bytes("wrapped keyring", wrapped)
    fields = {"wrapped": wrapped}
    rows.put(
        "keyring", KEYRING_KEY, rows.stamped(rows.current("keyring", KEYRING_KEY, expect), fields)
    )
