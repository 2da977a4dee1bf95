"""What a node remembers of the others: bounded, fresh, and told to the operator."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from heroctl_core.raft.handshake import Hello, Judgement, Relation
from heroctl_core.raft.neighbours import Neighbours, RaftSettings

PEER, REFUSED = Judgement(Relation.PEER), Judgement(Relation.REFUSED, "it belongs to cluster 'x'")
SETTINGS = RaftSettings("me", "prod", "key", peers={"b": "b:7101", "me": "a:7101"})


def hello(member_id: str) -> Hello:
    return Hello(
        cluster_name="prod",
        cluster_id="c" * 32,
        lineage=((1, "first"),),
        member_id=member_id,
        boot_nonce="boot",
        name=f"node-{member_id}",
        address=f"{member_id}:7101",
        key_id="key",
        expect=3,
    )


def members(known: Neighbours, now_s: float) -> set[str]:
    """The member ids that are remembered."""
    return {met.hello.member_id for met in known.seen(now_s)}


def test_questions_end_with_an_answer_or_a_refused_connection() -> None:
    """Silence and a connection that is only lost are no answer."""
    known = Neighbours()
    known.ask({"b:7101", "c:7101"})
    known.unreachable("b:7101", refused=False)
    known.met(None, hello("b"), PEER, 0.0)  # it came to us: its address was not asked
    assert known.questions_open
    known.met("b:7101", hello("b"), PEER, 0.0)
    assert known.questions_open
    known.unreachable("c:7101", refused=True)
    assert not known.questions_open


def test_what_our_own_said_is_asked_again_and_what_is_newer_is_kept() -> None:
    """A node that stands aside needs to know what its generation does now, and whom it meets."""
    known = Neighbours()
    known.met("b:7101", hello("b"), PEER, 0.0)
    newer = replace(hello("c"), lineage=((1, "first"), (2, "second")))
    known.met("c:7101", newer, Judgement(Relation.NEWER), 0.0)
    known.ask_ours({"b:7101", "c:7101"})
    assert members(known, 0.0) == {"c"}
    assert known.silent == ["b:7101", "c:7101"]


def test_a_refusal_is_told_until_the_node_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, and in the warnings for as long as it lasts."""
    known = Neighbours()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            known.met("b:7101", hello("b"), REFUSED, 0.0)
    assert len(caplog.records) == 1
    assert known.warnings == ["node-b was refused: it belongs to cluster 'x'"]
    assert known.seen(0.0) == ()
    known.met("b:7101", hello("b"), PEER, 0.0)
    assert known.warnings == []
    assert [met.relation for met in known.seen(1.0)] == [Relation.PEER]


def test_who_knocks_without_end_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line in ten seconds, whatever the reasons; and ten minutes later it is forgotten."""
    known = Neighbours()
    with caplog.at_level(logging.ERROR):
        for number in range(1000):
            known.refused("a peer at 10.0.0.9", f"reason {number}", number / 100)
    assert len(caplog.records) == 1
    assert known.warnings == ["a peer at 10.0.0.9 was refused: reason 999"]
    known.refused("a peer at 10.0.0.9", "another reason", 20.0)
    assert len(caplog.records) == 2
    known.forget_old(620.0, set())
    assert known.warnings != []
    known.forget_old(620.1, set())
    assert known.warnings == []


def test_dialing_itself_is_no_refusal() -> None:
    """A peer list that names this node too is right."""
    known = Neighbours()
    known.met("a:7101", hello("a"), Judgement(Relation.REFUSED, "itself"), 0.0)
    assert known.warnings == []


def test_who_speaks_under_a_thousand_names_takes_no_memory() -> None:
    """Nodes and refusals are bounded; the newest nodes are kept."""
    known = Neighbours()
    for number in range(1000):
        known.met(None, hello(f"m{number}"), PEER, float(number))
        known.met(None, hello(f"r{number}"), REFUSED, 0.0)
    assert len(known.seen(0.0)) == len(known.warnings) == 256
    assert "m999" in members(known, 0.0)


def test_who_is_gone_is_forgotten() -> None:
    """After a minute, unless it is connected: a peer says hello only once."""
    known = Neighbours()
    known.met(None, hello("b"), PEER, 0.0)
    known.met(None, hello("c"), PEER, 0.0)
    known.forget_old(60.0, {"b"})
    assert members(known, 60.0) == {"b", "c"}
    known.forget_old(60.1, {"b"})
    assert members(known, 60.1) == {"b"}


def test_what_was_said_last_counts_and_has_an_age() -> None:
    """A later hello replaces the one before."""
    known = Neighbours()
    known.met(None, hello("b"), PEER, 0.0)
    known.met(None, replace(hello("b"), suspended=True), Judgement(Relation.ASIDE), 5.0)
    met = known.seen(7.0)[0]
    assert met.hello.suspended
    assert met.age_s == 2.0


def test_addresses_leave_this_node_out() -> None:
    """Whoever is configured, but never ourselves."""
    assert Neighbours().addresses(SETTINGS, "a:7101", None, None) == {"b:7101"}


def said(known: Neighbours, nonce: str, now_s: float, **fields: object) -> Relation:
    """What a process with that boot nonce is taken for when it says hello."""
    theirs = replace(hello("b"), boot_nonce=nonce, **fields)  # type: ignore[arg-type]
    return known.met(None, theirs, PEER, now_s).relation


def test_a_node_that_was_started_again_is_the_same_member() -> None:
    """Each start has another nonce, and none comes back."""
    known = Neighbours()
    nonces = ["one", "one", "two", "two", "three"]
    assert [said(known, nonce, 0.0) for nonce in nonces] == [Relation.PEER] * 5


def test_of_two_processes_with_one_member_id_neither_is_trusted() -> None:
    """Until one of them was not heard for ten seconds; a third node says so to the operator."""
    known = Neighbours()
    assert [said(known, nonce, 0.0) for nonce in ("one", "two")] == [Relation.PEER] * 2
    assert said(known, "one", 1.0) is Relation.REFUSED
    assert said(known, "two", 2.0) is Relation.REFUSED
    assert "a data folder was copied" in known.warnings[0]
    assert members(known, 2.0) == set()
    assert said(known, "two", 11.9) is Relation.REFUSED
    assert said(known, "two", 12.0) is Relation.PEER
    assert known.warnings == []


def test_a_copied_folder_that_was_restored_does_not_disturb_its_origin() -> None:
    """It has the same member id and another restore id: another node, as far as anybody cares."""
    known = Neighbours()
    scratch = ((1, "first"), (2, "scratch"))
    for number in range(4):
        assert said(known, "one", float(number)) is Relation.PEER
        assert said(known, "two", float(number), lineage=scratch) is Relation.PEER
    assert len(known.seen(4.0)) == 2
