"""Sections that an embedding service brings: opaque rows, named `ext-NAME`.

The machine keeps, fingerprints, dumps and loads them like its own, and knows nothing of what is in
them. Commands for them come with the extensions' own kinds.
"""

from __future__ import annotations

import re
from typing import Final

_SECTION: Final = re.compile(r"ext-[a-z0-9][a-z0-9-]{0,62}")


def is_extension(kind: str) -> bool:
    """True for the name of an extension's section."""
    return _SECTION.fullmatch(kind) is not None
