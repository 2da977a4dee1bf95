"""The leader's own work: forgetting old metric samples."""

from __future__ import annotations

from heroctl_core import limits
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.duties import Duties
from heroctl_core.state.metrics import BLOCK_MS
from heroctl_core.testing.clock import ManualClock
from heroctl_core.testing.replicator import InMemoryReplicator

NOW_MS = 1_790_000_000_000


def test_samples_are_forgotten_after_seven_days_and_nothing_is_proposed_in_between() -> None:
    """A block goes when all of it has left the window; the rest is left alone."""
    clock = ManualClock(time_ms=NOW_MS)
    replicator = InMemoryReplicator(clock)
    keyring = Keyring.create()
    catalogue = Catalogue(replicator, lambda: keyring, clock)
    duties = Duties(replicator, catalogue.metrics, clock)
    catalogue.metrics.append("cpu", [(NOW_MS, 1.0)], labels={"node": "a"})
    duties.look()
    duties.look()
    revision = replicator.machine.revision
    assert revision <= 2 and len(catalogue.metrics.get("cpu")) == 1

    clock.advance((limits.METRIC_WINDOW_MS + 2 * BLOCK_MS) / 1000)
    duties.look()
    assert replicator.machine.revision == revision + 1
    assert catalogue.metrics.get("cpu") == []
