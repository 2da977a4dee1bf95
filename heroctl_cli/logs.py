"""Logs of a server: one line each, to stderr, times in UTC."""

from __future__ import annotations

import logging
import sys
import time


class _OneLine(logging.Formatter):
    """A record is one line, whatever is in it: a line break could pretend to be another record."""

    converter = time.gmtime  # type: ignore[assignment]
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def to_stderr(level: int = logging.INFO) -> None:
    """Sends the logs of this process to stderr."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[lines], force=True)
