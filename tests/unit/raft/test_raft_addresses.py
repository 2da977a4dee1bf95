"""Looking names up beside the engine's thread."""

from __future__ import annotations

import threading

import pytest

from heroctl_core.raft import addresses
from heroctl_core.raft.addresses import Resolver, Target

DEADLINE_S = 10.0


def test_sixteen_names_are_looked_up_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that never answers costs no more threads; the others have their turn later."""
    answers, asked, answered = threading.Event(), list[str](), threading.Semaphore(0)

    def resolve(address: str) -> list[Target]:
        asked.append(address)
        assert answers.wait(DEADLINE_S)
        return []

    monkeypatch.setattr(addresses, "resolve", resolve)
    resolver = Resolver(answered.release)
    names = [f"node-{number}.example.org:7101" for number in range(20)]
    try:
        assert [resolver.look_up(name) for name in names] == [None] * 20
        assert len(resolver._asked) == 16
    finally:
        answers.set()
    for _ in range(16):
        assert answered.acquire(timeout=DEADLINE_S)
    assert sorted(asked) == sorted(names[:16])
    assert [resolver.look_up(name) for name in names[:16]] == [[]] * 16
    assert resolver.look_up(names[16]) is None
    assert answered.acquire(timeout=DEADLINE_S)
    assert resolver.look_up(names[16]) == []
