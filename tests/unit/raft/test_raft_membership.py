"""Configurations, the next single change, and which configuration the log says."""

from __future__ import annotations

import pytest

from heroctl_core.codec import pack
from heroctl_core.raft.membership import (
    EMPTY,
    KEPT_REMOVED,
    Candidate,
    Configuration,
    ConfigurationLog,
    MemberSpec,
    decode,
    from_value,
    next_change,
)
from heroctl_core.testing.raft_bench import members


@pytest.mark.parametrize(
    ("letters", "quorum"), [("a", 1), ("ab", 2), ("abc", 2), ("abcd", 3), ("abcde", 3)]
)
def test_a_quorum_is_more_than_half_of_the_voters(letters: str, quorum: int) -> None:
    """One less is none; learners and strangers do not count."""
    configuration = members(letters, learners="xyz")
    assert configuration.quorum == quorum
    assert configuration.is_quorum(letters[:quorum])
    assert not configuration.is_quorum([*letters[: quorum - 1], "x", "y", "z", "stranger"])


def test_nobody_is_no_quorum() -> None:
    """A node that does not know its cluster yet must not elect itself."""
    assert not EMPTY.is_quorum({"a"})


def test_equal_configurations_are_equal_bytes() -> None:
    """Whatever order the members came in."""
    one = members("abc")
    other = Configuration(dict(reversed(list(one.members.items()))))
    assert one.encode() == other.encode()
    assert decode(one.encode()) == other


@pytest.mark.parametrize(
    "value", [[], 7, {"a": 1}, {"a": {"name": "n"}}, {"a": None}, {"a": ["n", "x", True]}]
)
def test_what_is_no_configuration_is_refused(value: object) -> None:
    """Also when it is well-formed msgpack."""
    with pytest.raises(ValueError, match="no configuration"):
        decode(pack(value))


def test_plain_maps_give_the_configuration_back() -> None:
    """header.json and hello frames carry them."""
    assert from_value(members("ab", "c").to_value()) == members("ab", "c")


def change(
    current: Configuration, candidates: dict[str, str], caught_up: str = "", connected: str = "abcd"
) -> Configuration | None:
    """next_change for candidates given as member id: node name."""
    asking = {m: Candidate(name, f"{m}:1") for m, name in candidates.items()}
    return next_change(current, asking, frozenset(caught_up), frozenset(connected), 9)


def test_a_candidate_learns_first() -> None:
    """It joins without a vote."""
    after = change(members("abc"), {"d": "node-d"})
    assert after == members("abc", learners="d")


def test_a_learner_votes_when_it_has_caught_up_and_answers() -> None:
    """Not before either."""
    current = members("abc", learners="d")
    assert change(current, {}, caught_up="d") == members("abcd")
    assert change(current, {}) is None
    assert change(current, {}, caught_up="d", connected="abc") is None


def test_a_learner_votes_before_the_next_candidate_learns() -> None:
    """One change at a time."""
    after = change(members("abc", learners="d"), {"e": "node-e"}, caught_up="d")
    assert after == members("abcd")


def test_a_wiped_node_replaces_its_old_self() -> None:
    """The old member goes first, when it is not there any more; the new one learns afterwards."""
    wiped = {"d": "node-c"}
    assert change(members("abc"), wiped) is None
    without = Configuration(members("ab").members, removed={"c": 9})
    assert change(members("abc"), wiped, connected="abd") == without
    after = change(members("ab"), wiped)
    assert after is not None
    assert after.members["d"] == MemberSpec("node-c", "d:1", voter=False)


def test_the_last_member_is_never_removed() -> None:
    """A lone node that lost its connection to itself would leave nobody."""
    assert change(members("a"), {"d": "node-a"}, connected="d") is None


def test_a_member_that_asks_again_changes_nothing() -> None:
    """It is in already."""
    assert change(members("abc"), {"c": "node-c"}) is None


def test_who_was_removed_never_comes_back() -> None:
    """Whoever still runs the removed member: its name is free, its id is not."""
    without = members("abc").without("c", 7)
    assert change(without, {"c": "node-c"}) is None
    after = change(without, {"c": "node-c", "d": "node-c"})
    assert after is not None
    assert after.members.keys() == set("abd")
    assert after.removed == {"c": 7}


def test_name_and_address_are_attributes() -> None:
    """A member that is reached elsewhere stays the voter that it is; a name of another is left."""
    moved = next_change(
        members("abc"), {"b": Candidate("node-b", "b:2")}, frozenset(), frozenset("abc"), 9
    )
    assert moved == members("abc").with_member("b", MemberSpec("node-b", "b:2", voter=True))
    assert change(members("abc"), {"b": "renamed"}) is not None
    assert change(members("abc"), {"b": "node-c"}) is None


def test_the_newest_removals_are_remembered() -> None:
    """A bounded number of them, and they survive the way through the log."""
    current = members("a")
    for index in range(KEPT_REMOVED + 3):
        current = current.with_member(f"m{index}", MemberSpec("n", "n:1", voter=False))
        current = current.without(f"m{index}", index)
    assert set(current.removed.values()) == set(range(3, KEPT_REMOVED + 3))
    assert decode(current.encode()) == current


def filled() -> ConfigurationLog:
    """Three configurations: at 5, 8 and 12."""
    log = ConfigurationLog(5, members("a"))
    log.appended(8, members("ab").encode())
    log.appended(12, members("abc").encode())
    return log


@pytest.mark.parametrize(
    ("index", "letters"), [(5, "a"), (7, "a"), (8, "ab"), (11, "ab"), (12, "abc"), (99, "abc")]
)
def test_the_configuration_of_an_index_is_the_newest_up_to_it(index: int, letters: str) -> None:
    """This is what a dump of that index carries."""
    assert filled().at(index) == members(letters)


@pytest.mark.parametrize(
    ("index", "letters", "changed"), [(13, "abc", False), (12, "ab", True), (8, "a", True)]
)
def test_truncation_brings_the_one_before_back(index: int, letters: str, changed: bool) -> None:
    """Entries from `index` on are gone."""
    log = filled()
    assert log.truncated(index) is changed
    assert log.newest == members(letters)


@pytest.mark.parametrize(("index", "letters"), [(7, "a"), (8, "ab"), (11, "ab"), (12, "abc")])
def test_compaction_keeps_the_configuration_in_force(index: int, letters: str) -> None:
    """What begins at the dump is what counted there; newer ones stay."""
    log = filled()
    log.forget_below(index)
    assert log.at(index) == members(letters)
    assert (log.newest, log.newest_index) == (members("abc"), 12)
