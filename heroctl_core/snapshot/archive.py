"""The snapshot archive: write it, look into it, open it. docs/archive-format.md has the bytes.

This module is the door of the room; the work is in writer, reader, container, gzip_stored,
sections and file_keys.
"""

from __future__ import annotations

from .reader import Archive, Outline, RecordCheck, open_archive, outline
from .sections import Pause, Record, no_pause
from .writer import Saved, Section, write_archive

__all__ = [
    "Archive",
    "Outline",
    "Pause",
    "Record",
    "RecordCheck",
    "Saved",
    "Section",
    "no_pause",
    "open_archive",
    "outline",
    "write_archive",
]
