"""The routes of members: what they answer, and to whom."""

from __future__ import annotations

import pytest

from heroctl_core.errors import CommandRejected, HeroctlError, ReadOnly, RecoveryError
from heroctl_core.testing.memory_node import ServedNode

TRANSFER = "/v1/cluster/transfer-leader"


def test_any_token_may_see_the_members(served: ServedNode) -> None:
    """As the leader sees them; stale as this node does, also without a quorum."""
    client = served.client(served.token({"resource": "job", "name": "x", "actions": ["read"]}))
    [member] = client.get("/v1/cluster/members").body["items"]
    assert (member["name"], member["role"], member["is_leader"]) == ("memory", "voter", True)
    assert (member["lag"], member["heard_s"]) == (0, 0.0)
    served.node.replicator.go_read_only()
    with pytest.raises(ReadOnly):
        client.get("/v1/cluster/members")
    stale = client.get("/v1/cluster/members", {"consistency": "stale"})
    assert [m["is_leader"] for m in stale.body["items"]] == [False]
    assert stale.age_s is not None


def test_orders_need_the_operators_rights(served: ServedNode) -> None:
    """To write operator for a change of leader, to delete operator for a removal."""
    client = served.client(served.token({"resource": "*", "name": "*", "actions": ["read"]}))
    for method, path, body in (
        ("POST", TRANSFER, {"to": "memory"}),
        ("DELETE", "/v1/cluster/members/memory", None),
    ):
        with pytest.raises(CommandRejected, match="may not"):
            client.write(method, path, body, retry=False)


def test_a_token_with_the_right_hands_over(served: ServedNode) -> None:
    """The rule names the member that shall lead."""
    rule = {"resource": "operator", "name": "mem*", "actions": ["write"]}
    client = served.client(served.token(rule))
    assert client.write("POST", TRANSFER, {"to": "memory"}, retry=False).body["name"] == "memory"
    with pytest.raises(CommandRejected, match="may not"):
        client.write("POST", TRANSFER, {}, retry=False)


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("DELETE", "/v1/cluster/members/nobody", None, "not_found"),
        ("DELETE", "/v1/cluster/members/memory", None, "refused"),
        ("POST", TRANSFER, {"to": "nobody"}, "not_found"),
        ("POST", TRANSFER, {}, "refused"),
        ("POST", TRANSFER, {"to": 5}, "invalid"),
        ("POST", TRANSFER, {"from": "memory"}, "invalid"),
        ("POST", "/v1/cluster/join", {}, "invalid"),
        ("POST", "/v1/cluster/join", {"address": "127.0.0.1:7101"}, "refused"),
    ],
)
def test_what_cannot_be_done_says_why(
    served: ServedNode, method: str, path: str, body: object, reason: str
) -> None:
    """Over the socket the caller is operator; the rest is for the cluster to decide."""
    with pytest.raises(HeroctlError) as caught:
        served.client().write(method, path, body, retry=False)
    assert caught.value.reason == reason


def test_a_token_cannot_make_a_node_join(served: ServedNode) -> None:
    """Which cluster a machine belongs to is decided on the machine."""
    client = served.client(served.token())
    with pytest.raises(CommandRejected, match="on its own machine"):
        client.write("POST", "/v1/cluster/join", {"address": "127.0.0.1:7101"}, retry=False)


def test_removal_is_refused_for_the_last_voter(served: ServedNode) -> None:
    """Exit code 9, a guard."""
    with pytest.raises(RecoveryError) as caught:
        served.client().write("DELETE", "/v1/cluster/members/memory", retry=False)
    assert caught.value.exit_code == 9
