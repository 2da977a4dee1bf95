"""Watching: everything in order, from any cursor that is still known; nobody waits for anybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from watching import LONG_S, actor, settled, taken

from heroctl_core import limits
from heroctl_core.catalogue.access import Rule
from heroctl_core.catalogue.catalogue import Catalogue
from heroctl_core.catalogue.jobs import Job
from heroctl_core.catalogue.secrets import Secret
from heroctl_core.catalogue.watch import parse_cursor
from heroctl_core.errors import (
    CommandRejected,
    Compacted,
    EpochChanged,
    NodeFault,
    RightsChanged,
)
from heroctl_core.state import events
from heroctl_core.testing.replicator import InMemoryReplicator


@pytest.fixture(autouse=True)
def closed(catalogue: Catalogue) -> Iterator[None]:
    yield
    catalogue.watches.close()


def test_puts_and_deletions_come_in_order(catalogue: Catalogue) -> None:
    """With the value of that moment, not of now; the cursor is that of the change."""
    with catalogue.watches.open("jobs/") as watch:
        catalogue.jobs.put("web", {"replicas": 1})
        catalogue.jobs.put("web", {"replicas": 2})
        catalogue.secrets.put("other-kind", b"x")
        catalogue.jobs.delete("web")
        changes = taken(watch, 3)
    assert [(c.action, c.kind, c.name, c.revision) for c in changes] == [
        ("put", "job", "web", 1),
        ("put", "job", "web", 2),
        ("delete", "job", "web", 4),
    ]
    first, second, gone = (c.value for c in changes)
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert (first.spec, second.spec, gone) == ({"replicas": 1}, {"replicas": 2}, None)
    assert [c.cursor for c in changes] == ["1.1", "1.2", "1.4"]
    assert changes[1].to_json()["value"]["spec"] == {"replicas": 2}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["job web", "job worker", "secret web", "policy web", "token web", "node web"]),
        ("jobs/", ["job web", "job worker"]),
        ("jobs/wo", ["job worker"]),
        ("jobs/web", ["job web"]),
        ("secrets/", ["secret web"]),
        ("policies/", ["policy web"]),
        ("tokens/", ["token web"]),
        ("nodes/w", ["node web"]),
        ("ingress/", []),
    ],
)
def test_a_prefix_narrows(catalogue: Catalogue, prefix: str, expected: list[str]) -> None:
    """A kind, or the begin of names of a kind."""
    with catalogue.watches.open(prefix) as watch:
        catalogue.jobs.put("web", {})
        catalogue.jobs.put("worker", {})
        catalogue.secrets.put("web", b"x")
        catalogue.acl.put_policy("web", [])
        catalogue.acl.put_token("web", ["web"])
        catalogue.nodes.put("web", address="10.0.0.1:1")
        settled(catalogue)
        found = [f"{c.kind} {c.name}" for c in watch.take() if c.name != "settled"]
    assert found == expected


@pytest.mark.parametrize("prefix", ["jobs", "metrics/", "keyring/", "/", "job/web", "*"])
def test_what_cannot_be_watched_is_an_error_that_says_what_can(
    catalogue: Catalogue, prefix: str
) -> None:
    """A typing mistake does not give a watch that stays silent for ever."""
    with pytest.raises(CommandRejected, match='allowed: "", "jobs/"') as caught:
        catalogue.watches.open(prefix)
    assert caught.value.reason == "invalid"


def test_a_secret_is_watched_without_its_value(catalogue: Catalogue) -> None:
    """Neither in the value nor in what is shown."""
    with catalogue.watches.open("secrets/") as watch:
        catalogue.secrets.put("db", b"fake-password", metadata={"owner": "ops"})
        [change] = taken(watch, 1)
    assert isinstance(change.value, Secret)
    assert change.value.value is None
    assert change.value.metadata == {"owner": "ops"}
    assert "fake" not in repr(change)
    assert "sealed" not in str(change.to_json())


def test_a_watcher_goes_on_where_it_was(catalogue: Catalogue) -> None:
    """With the cursor of a change, or of the watch: nothing twice, nothing missed."""
    with catalogue.watches.open("jobs/") as watch:
        for number in range(5):
            catalogue.jobs.put(f"job-{number}", {})
        third = taken(watch, 5)[2]
        settled(catalogue)
        end = watch.cursor
    catalogue.jobs.put("later", {})
    with catalogue.watches.open("jobs/", since=third.cursor) as again:
        assert [c.name for c in taken(again, 3)] == ["job-3", "job-4", "later"]
    with catalogue.watches.open("jobs/", since=end) as again:
        assert [c.name for c in taken(again, 1)] == ["later"]
    with catalogue.watches.open("jobs/", since="1.0") as again:
        assert len(taken(again, 6)) == 6


def test_the_cursor_moves_past_what_does_not_concern_the_watch(catalogue: Catalogue) -> None:
    """Or a quiet watcher would find its cursor forgotten."""
    with catalogue.watches.open("ingress/") as watch:
        catalogue.jobs.put("web", {})
        settled(catalogue)
        assert parse_cursor(watch.cursor) == (1, 2)
        assert watch.take() == []


def test_a_cursor_ahead_of_this_node_waits_for_it(catalogue: Catalogue) -> None:
    """It came from a node that had applied more: what it has seen does not come again."""
    with catalogue.watches.open("jobs/", since="1.2") as watch:
        for name in ("seen-1", "seen-2", "new"):
            catalogue.jobs.put(name, {})
        assert [c.name for c in taken(watch, 1)] == ["new"]


@pytest.mark.parametrize(
    "cursor", ["", "7", "1.x", "1.2.3", "-1.2", "1.-2", "²1.2", "1." + "9" * 40]
)
def test_a_cursor_that_is_none_is_refused(catalogue: Catalogue, cursor: str) -> None:
    """With what it should be."""
    with pytest.raises(CommandRejected, match=r"EPOCH\.REVISION"):
        catalogue.watches.open("jobs/", since=cursor)


def test_what_is_forgotten_is_said(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor below the oldest event: the watcher must list again."""
    monkeypatch.setattr(limits, "WATCH_EVENTS", 10)
    monkeypatch.setattr(events, "_CHUNK_EVENTS", 5)
    for number in range(40):
        catalogue.jobs.put(f"job-{number}", {})
    with pytest.raises(Compacted, match="after revision 1 are not known") as caught:
        catalogue.watches.open("jobs/", since="1.1")
    assert "list" in str(caught.value.hint)
    with catalogue.watches.open("jobs/", since="1.38") as watch:
        assert [c.name for c in taken(watch, 2)] == ["job-38", "job-39"]


def test_a_restore_ends_watches_by_the_epoch(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """Those that run, and those that come back with an old cursor."""
    with catalogue.watches.open("jobs/") as watch:
        catalogue.jobs.put("web", {})
        cursor = taken(watch, 1)[0].cursor
        machine = replicator.machine
        replicator.call(lambda: machine.load([], revision=90, epoch=2, time_ms=1)).result()
        assert watch.wait(LONG_S)
        with pytest.raises(EpochChanged, match="epoch 1, this is 2"):
            watch.take()
    with pytest.raises(EpochChanged):
        catalogue.watches.open("jobs/", since=cursor)
    with catalogue.watches.open("jobs/") as watch:
        catalogue.jobs.put("web", {})
        assert taken(watch, 1)[0].cursor == "2.91"


def test_a_snapshot_from_the_leader_ends_watches(
    catalogue: Catalogue, replicator: InMemoryReplicator
) -> None:
    """The epoch is the same, but nobody here knows what changed in between."""
    with catalogue.watches.open("jobs/") as watch:
        machine = replicator.machine
        replicator.call(lambda: machine.load([], revision=90, epoch=1, time_ms=1)).result()
        assert watch.wait(LONG_S)
        with pytest.raises(Compacted, match="the oldest is 91"):
            watch.take()


def test_a_watcher_sees_what_it_may_see(catalogue: Catalogue) -> None:
    """Rows that it may neither list nor read do not come, also when they go."""
    sees_web = actor(Rule("job", "web*", ("read",)))
    with catalogue.watches.open("", actor=sees_web) as watch:
        catalogue.jobs.put("web-1", {})
        catalogue.jobs.put("hidden", {})
        catalogue.secrets.put("web-secret", b"x")
        catalogue.jobs.delete("hidden")
        catalogue.jobs.delete("web-1")
        settled(catalogue)
        assert [(c.action, c.name) for c in watch.take()] == [("put", "web-1"), ("delete", "web-1")]
    with pytest.raises(CommandRejected, match="may not list secret"):
        catalogue.watches.open("secrets/", actor=sees_web)


def test_a_change_of_rights_ends_watches_with_tokens(catalogue: Catalogue) -> None:
    """Who may see less now must not go on; an operator's watch needs no rights."""
    sees_web = actor(Rule("job", "web*", ("read",)))
    with (
        catalogue.watches.open("jobs/", actor=sees_web) as theirs,
        catalogue.watches.open("jobs/") as ours,
    ):
        catalogue.jobs.put("web-1", {})
        catalogue.acl.put_policy("any", [])
        catalogue.jobs.put("web-2", {})
        assert len(taken(ours, 2)) == 2
        settled(catalogue)
        assert [c.name for c in theirs.take()] == ["web-1"]
        with pytest.raises(RightsChanged):
            theirs.take()


def test_who_may_list_nothing_watches_nothing(catalogue: Catalogue) -> None:
    """Also not everything at once; who may list one kind may."""
    writes = actor(Rule("*", "*", ("write",)))
    with pytest.raises(CommandRejected, match="may list nothing") as caught:
        catalogue.watches.open("", actor=writes)
    assert caught.value.reason == "denied"
    catalogue.watches.open("", actor=actor(Rule("node", "n", ("list",)))).close()


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        ([Rule("acl", "*", ("read",))], ["put token visible", "delete token"]),
        ([Rule("acl", "vis*", ("read",))], ["put token visible"]),
        (
            [Rule("acl", "*", ("read",)), Rule("acl", "hid*", ("read",), "deny")],
            ["put token visible"],
        ),
    ],
)
def test_a_token_that_is_gone_is_told_to_who_sees_all(
    catalogue: Catalogue, rules: list[Rule], seen: list[str]
) -> None:
    """Nobody can tell its name any more, so rules for some names cannot decide."""
    catalogue.acl.put_policy("p", [])
    catalogue.acl.put_token("visible", ["p"])
    catalogue.acl.delete_token("visible")
    with catalogue.watches.open("tokens/", since="1.0", actor=actor(*rules)) as watch:
        settled(catalogue)
        told = [f"{c.action} {c.kind} {c.name}" for c in watch.take()]
    assert len(told) == len(seen)
    assert all(words.startswith(begin) for words, begin in zip(told, seen, strict=True))
    with pytest.raises(CommandRejected, match='all of "tokens/"'):
        catalogue.watches.open("tokens/vis")


def test_an_iteration_ends_when_the_watch_is_closed(catalogue: Catalogue) -> None:
    """Also while it waits in another thread."""
    watch = catalogue.watches.open("jobs/")
    started = threading.Event()

    def names() -> list[str]:
        found = []
        for change in watch:
            found.append(change.name)
            started.set()
        return found

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(names)
        catalogue.jobs.put("web", {})
        assert started.wait(LONG_S)
        watch.close()
        assert waits.result(LONG_S) == ["web"]


def test_a_closed_node_ends_its_watches(catalogue: Catalogue) -> None:
    """What waited can still be taken; nothing can be watched any more."""
    watch = catalogue.watches.open("jobs/")
    catalogue.jobs.put("web", {})
    taken(watch, 1)
    catalogue.watches.close()
    catalogue.watches.close()
    with pytest.raises(NodeFault, match="closed"):
        list(watch)
    with pytest.raises(NodeFault):
        catalogue.watches.open("jobs/")


def test_whoever_asked_is_notified(catalogue: Catalogue) -> None:
    """Once for what comes together, on another thread; again after it was taken."""
    told = threading.Semaphore(0)
    with catalogue.watches.open("jobs/", notify=told.release) as watch:
        for number in range(3):
            catalogue.jobs.put(f"job-{number}", {})
            assert told.acquire(timeout=LONG_S)
            assert [c.name for c in watch.take()] == [f"job-{number}"]
        assert not told.acquire(blocking=False)
