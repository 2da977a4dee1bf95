"""The keyring of the moment: unwrapped from its row, made when the cluster has none yet."""

from __future__ import annotations

from collections.abc import Sequence

from ..codec import unpack
from ..crypto.keys import BackupKey
from ..crypto.sealed import Keyring
from ..errors import CommandRejected
from ..raft.port import Replicator
from ..state.commands import PutKeyring
from ..state.secrets import KEYRING_KEY
from .access import OPERATOR
from .writes import Writer


class KeyringSource:
    """Gives the keyring that seals and opens secrets. Any thread.

    The row is looked at each time, so that a keyring that came with a restore is used at once;
    unwrapping is done only when it changed.
    """

    def __init__(self, replicator: Replicator, writer: Writer, keys: Sequence[BackupKey]) -> None:
        """The first of `keys` wraps, all unwrap."""
        self._replicator = replicator
        self._writer = writer
        self._keys = keys
        self._last: tuple[bytes, Keyring] | None = None

    def stored(self) -> Keyring | None:
        """The cluster's keyring, None before the first secret. WrongKey when no key opens it."""
        row = self._replicator.machine.get("keyring", KEYRING_KEY)
        if row is None:
            return None
        last = self._last
        if last is not None and last[0] == row:
            return last[1]
        keyring = Keyring.unwrap(unpack(row)["wrapped"], self._keys)
        self._last = (row, keyring)
        return keyring

    def current(self) -> Keyring:
        """The cluster's keyring; the first caller of a new cluster makes it."""
        keyring = self.stored()
        if keyring is not None:
            return keyring
        wrapped = Keyring.create().wrap(self._keys[0])
        try:
            self._writer.write(PutKeyring(wrapped, expect=0), OPERATOR)
        except CommandRejected as error:
            if error.reason != "conflict":  # somebody else was first: theirs counts
                raise
        self._replicator.read_barrier().result()
        keyring = self.stored()
        assert keyring is not None
        return keyring
