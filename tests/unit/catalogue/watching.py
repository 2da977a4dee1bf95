"""What the tests of watches share."""

from __future__ import annotations

from heroctl_core.catalogue.access import Actor, Policy, Rule
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.watch import Change, Watch

LONG_S = 10.0


def taken(watch: Watch, count: int) -> list[Change]:
    """The next `count` changes."""
    found: list[Change] = []
    while len(found) < count:
        assert watch.wait(LONG_S), f"only {found}"
        found += watch.take()
    return found


def settled(catalogue: Catalogue) -> None:
    """Returns when every event is in the queues: a watch of its own sees the last one."""
    with catalogue.watches.open("nodes/") as watch:
        catalogue.nodes.put("settled", address="10.0.0.1:1")
        taken(watch, 1)


def actor(*rules: Rule) -> Actor:
    return Actor("somebody", (Policy("p", rules),))
