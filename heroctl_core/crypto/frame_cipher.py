"""AES-256-GCM for the frames of one connection, in both directions, each in its order."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NUMBER_BYTES: Final = 11


class FrameCipher:
    """One end of a connection. The key must be of this connection only: a nonce is the direction
    and the number of the frame, so none can be left out, repeated, moved or sent back."""

    def __init__(self, key: bytes, *, dialed: bool) -> None:
        """`dialed`: whether this end made the connection."""
        self._cipher = AESGCM(key)
        self._ours, self._theirs = (b"\0", b"\1") if dialed else (b"\1", b"\0")
        self._sealed = self._opened = 0

    def seal(self, body: bytes, head: bytes) -> bytes:
        """The next frame of ours; `head` goes in the clear and is bound to it."""
        nonce = self._ours + self._sealed.to_bytes(_NUMBER_BYTES)
        self._sealed += 1
        return self._cipher.encrypt(nonce, body, head)

    def open(self, body: bytes, head: bytes) -> bytes:
        """The next frame of theirs; ValueError when it is none."""
        nonce = self._theirs + self._opened.to_bytes(_NUMBER_BYTES)
        self._opened += 1
        try:
            return self._cipher.decrypt(nonce, body, head)
        except InvalidTag as error:
            raise ValueError("a frame that its peer did not seal for this connection") from error
