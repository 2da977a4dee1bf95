"""A log filter: what a request said never reaches the log, for a token or a secret may be in it.

The HTTP library logs what it could not parse, with the bytes, and a traceback for each client that
hangs up.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path


class Discreet(logging.Filter):
    """Puts the kinds and places of errors in the place of their words, in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a connection that ended: that is the client's matter."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        record.exc_info = None
        record.msg, record.args = "%s: %s", (record.getMessage(), _told(error))
        return not isinstance(error, ConnectionError)


def _told(error: BaseException) -> str:
    """The kind of an error and of those behind it, each with where it came from."""
    cause = error.__cause__ or error.__context__
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    behind = f", after {_told(cause)}" if cause is not None else ""
    return f"{type(error).__name__} at {places or 'no place'}{behind}"
