"""A catalogue over the in-memory replicator, with the real keyring and a manual clock."""

from __future__ import annotations

import pytest

from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.replicator import InMemoryReplicator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def replicator(clock: ManualClock) -> InMemoryReplicator:
    return InMemoryReplicator(clock)


@pytest.fixture
def catalogue(replicator: InMemoryReplicator, clock: ManualClock) -> Catalogue:
    keyring = Keyring.create()
    return Catalogue(replicator, lambda: keyring, clock, deadline_s=0.05)
