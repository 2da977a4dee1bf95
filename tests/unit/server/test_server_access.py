"""Who may call: tokens over TCP, the kernel's word over the unix socket."""

from __future__ import annotations

import json
import stat

import pytest
from test_server_api import WEB, raw

from heroctl_core.errors import CommandRejected
from heroctl_core.server import auth
from heroctl_core.testing.memory_node import ServedNode


@pytest.mark.parametrize(
    "header", [None, "", "Basic eDp5", "Bearer", "Bearer ", "Bearer nonsense", "Bearer heroctl_a_b"]
)
def test_without_a_valid_token_there_is_no_way_in(served: ServedNode, header: str | None) -> None:
    """401, one message, and no word about which part was wrong."""
    served.node.acl.bootstrap()
    headers = {} if header is None else {"Authorization": header}
    status, told, body = raw(served, "GET", "/v1/jobs", **headers)
    assert status == 401 and told["WWW-Authenticate"] == "Bearer"
    problem = json.loads(body)
    assert (problem["reason"], problem["exit_code"]) == ("denied", 5)
    assert "HEROCTL_TOKEN" in problem["hint"]


def test_a_token_does_what_its_policies_say(served: ServedNode) -> None:
    """What no rule allows is 403, exit code 5, and leaves no trace."""
    client = served.client(
        served.token({"resource": "job", "name": "web*", "actions": ["read", "write"]})
    )
    client.write("PUT", "/v1/jobs/web", WEB)
    assert client.get("/v1/jobs/web").body["spec"] == WEB["spec"]
    for method, path in (("PUT", "/v1/jobs/other"), ("DELETE", "/v1/jobs/web")):
        with pytest.raises(CommandRejected, match="may not") as caught:
            client.write(method, path, WEB if method == "PUT" else None)
        assert caught.value.exit_code == 5
    assert [job.name for job in served.node.jobs.list()] == ["web"]


def test_the_right_to_write_acl_gives_no_other_right(served: ServedNode) -> None:
    """403 for a token with the operator's policy, for a policy that allows more, and for everything
    that touches a stronger token or policy; within the own rights it goes."""
    served.node.acl.bootstrap()
    jobs = {"resource": "job", "name": "ci-*", "actions": ["read", "write"]}
    client = served.client(served.token({"resource": "acl", "name": "*", "actions": ["*"]}, jobs))
    everything = {"resource": "*", "name": "*", "actions": ["*"]}
    refused = [
        ("PUT", "/v1/acl/tokens/ci-me", {"policies": ["operator"]}),
        ("PUT", "/v1/acl/tokens/test", {"policies": ["test", "operator"]}),
        ("PUT", "/v1/acl/policies/test", {"rules": [everything]}),
        ("PUT", "/v1/acl/policies/operator", {"rules": []}),
        ("DELETE", "/v1/acl/policies/operator", None),
        ("PUT", "/v1/acl/tokens/operator", {"policies": ["test"]}),
        ("DELETE", "/v1/acl/tokens/operator", None),
    ]
    for method, path, body in refused:
        with pytest.raises(CommandRejected, match="a right that test lacks: ") as caught:
            client.write(method, path, body)
        assert (caught.value.reason, caught.value.exit_code) == ("denied", 5), path
        assert caught.value.hint is not None
    client.write("PUT", "/v1/acl/policies/ci-jobs", {"rules": [jobs]})
    made = client.write("PUT", "/v1/acl/tokens/ci-me", {"policies": ["ci-jobs"]}, retry=False)
    served.client(made.body["token"]).write("PUT", "/v1/jobs/ci-web", {"spec": {}})
    client.write("DELETE", "/v1/acl/tokens/ci-me")


def test_a_revoked_token_opens_nothing(served: ServedNode) -> None:
    """At once on a node that has applied it."""
    client = served.client(served.token())
    assert client.get("/v1/jobs").body["items"] == []
    served.node.acl.delete_token("test")
    with pytest.raises(CommandRejected, match="not valid"):
        client.get("/v1/jobs")


def test_the_first_token_is_made_once(served: ServedNode) -> None:
    """Over the socket; then it opens TCP. The second time is a conflict."""
    answer = served.client().write("POST", "/v1/acl/bootstrap", {}, retry=False)
    tcp = served.client(answer.body["token"])
    tcp.write("PUT", "/v1/secrets/s", {"value": "x"})
    assert tcp.get("/v1/secrets/s").body["value"] == "x"
    with pytest.raises(CommandRejected, match="made already") as caught:
        served.client().write("POST", "/v1/acl/bootstrap", {}, retry=False)
    assert caught.value.exit_code == 14
    with pytest.raises(CommandRejected) as caught:
        served.client("heroctl_x_y").write("POST", "/v1/acl/bootstrap", {}, retry=False)
    assert caught.value.reason == "denied"


def test_the_socket_is_for_its_owner_only(served: ServedNode) -> None:
    """Mode 600, and the caller is named in what he writes."""
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600
    with pytest.raises(CommandRejected, match="neither root nor") as caught:
        auth.local(12345)
    assert caught.value.exit_code == 5
    actor = auth.local(0)
    assert (actor.name, actor.operator, actor.source) == ("local:0", True, "local:0")


def test_the_token_is_not_sent_over_the_socket(served: ServedNode) -> None:
    """A lost or wrong token in the environment must not lock the operator out."""
    from heroctl_core.client import Client

    with Client(f"unix:{served.socket}", token="wrong") as client:
        assert client.get("/v1/jobs").body["items"] == []


@pytest.mark.parametrize("path", ["/v1/status", "/v1/snapshot", "/v1/metrics", "/v1/acl/tokens"])
def test_everything_but_health_needs_a_token(served: ServedNode, path: str) -> None:
    """Also what only looks."""
    assert raw(served, "GET", path)[0] == 401
    assert raw(served, "POST", "/v1/restore", b"x")[0] == 401
