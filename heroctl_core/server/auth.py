"""Who calls: a user of this machine over the unix socket, or the holder of a token over TCP.

What they may do is decided in catalogue/.
"""

from __future__ import annotations

import os
from typing import Final

from ..catalogue.access import Actor
from ..catalogue.acl import Acl
from ..errors import CommandRejected

NOBODY: Final = Actor("nobody")  # of routes that ask for no one
_HINT: Final = "set HEROCTL_TOKEN or HEROCTL_TOKEN_FILE; the first token: heroctl acl bootstrap"


def local(uid: int) -> Actor:
    """The operator behind a unix socket: root, or the user that the server runs as."""
    name = f"local:{uid}"
    if uid not in (0, os.geteuid()):
        raise CommandRejected(
            "denied",
            f"user {uid} is neither root nor the server's own user",
            hint="use --addr and a token",
        )
    return Actor(name, operator=True, source=name)


def bearer(acl: Acl, header: str | None, *, source: str) -> Actor:
    """The actor of an Authorization header; CommandRejected denied, with status 401."""
    scheme, _, token = (header or "").partition(" ")
    if not header or scheme.lower() != "bearer":
        raise _unknown("no token was given")
    try:
        return acl.authenticate(token.strip(), source=source)
    except CommandRejected as error:
        raise _unknown(error.message) from error


def _unknown(message: str) -> CommandRejected:
    error = CommandRejected("denied", message, hint=_HINT)
    error.http_status = 401  # who you are, not what you may do (RFC 9110, 15.5.2)
    return error
