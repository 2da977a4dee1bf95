"""A served node without disk, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heroctl_core.config.model import Limits
from heroctl_core.testing.memory_node import ServedNode, serve


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedNode]:
    """One served node with small limits."""
    with serve(tmp_path, limit=Limits(api_body_bytes=200_000, api_threads=4)) as node:
        yield node
