"""`POST /v1/transaction`: several documents, one revision; errors that name the operation."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from heroctl_core.client import new_request_id
from heroctl_core.errors import HeroctlError
from heroctl_core.testing.memory_node import ServedNode

RELEASE: list[dict[str, Any]] = [
    {"action": "put", "kind": "job", "name": "web", "expect": 0, "spec": {"image": "web:2"}},
    {"action": "put", "kind": "secret", "name": "web", "value": "fake", "metadata": {"a": "b"}},
    {"action": "put", "kind": "ingress", "name": "web", "host": "x.org", "job": "web", "port": 80},
    {"action": "put", "kind": "node", "name": "n1", "address": "10.0.0.1", "labels": {"z": "a"}},
    {"action": "delete", "kind": "job", "name": "old", "expect": 1},
    {"action": "expect", "kind": "job", "name": "other", "expect": 0},
]


def transact(served: ServedNode, operations: object, **more: Any) -> Any:
    client = served.client(more.pop("token", None))
    return client.write("POST", "/v1/transaction", {"operations": operations}, **more).body


def test_all_operations_are_one_write(served: ServedNode) -> None:
    """Every kind, with the fields of its own document."""
    served.node.jobs.put("old", {})
    assert transact(served, RELEASE) == {"revision": 2}
    client = served.client()
    for path in ("/v1/jobs/web", "/v1/secrets/web", "/v1/ingress/web", "/v1/nodes/n1"):
        assert client.get(path).body["meta"]["revision"] == 2
    assert client.get("/v1/secrets/web").body["value"] == "fake"
    with pytest.raises(HeroctlError, match="job old does not exist"):
        client.get("/v1/jobs/old")


def test_a_retry_under_its_id_is_the_same_write(served: ServedNode) -> None:
    """As for every write."""
    served.node.jobs.put("old", {})
    request_id = new_request_id()
    first = transact(served, RELEASE, request_id=request_id)
    assert transact(served, RELEASE, request_id=request_id) == first


def test_a_refusal_names_its_operation(served: ServedNode) -> None:
    """And leaves nothing behind."""
    with pytest.raises(HeroctlError, match="operation 5: job old does not exist") as caught:
        transact(served, RELEASE)
    assert (caught.value.reason, caught.value.exit_code) == ("not_found", 6)
    assert served.node.jobs.list() == []


def test_a_token_needs_the_right_of_every_operation(served: ServedNode) -> None:
    """The first that it lacks is named."""
    token = served.token({"resource": "job", "name": "*", "actions": ["write", "delete", "read"]})
    served.node.jobs.put("old", {})
    with pytest.raises(HeroctlError, match="may not write secret web") as caught:
        transact(served, RELEASE, token=token)
    assert caught.value.reason == "denied"


@pytest.mark.parametrize(
    "operation",
    [
        b'{"action":"put","kind":"job","name":"x","spec":{},"\\ud800":1}',
        b'{"action":"put","kind":"job","name":"x","spec":{"\\udfff":1e9}}',
        b'{"action":"put","kind":"job","name":"x","spec":{},"labels":{"\\ud800":1}}',
        b'{"action":"put","kind":"secret","name":"x","value":"x\xed\xa0\x80"}',
    ],
)
def test_half_a_character_is_no_text(served: ServedNode, operation: bytes) -> None:
    """Neither escaped nor as bytes: a refusal, not an error of the server."""
    connection = http.client.HTTPConnection(served.address, timeout=10)
    headers = {"Authorization": f"Bearer {served.token()}", "Content-Type": "application/json"}
    body = b'{"operations":[' + operation + b"]}"
    connection.request("POST", "/v1/transaction", body, headers)
    response = connection.getresponse()
    assert response.status == 422
    assert json.loads(response.read())["reason"] == "invalid"
    connection.close()


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (None, "operations"),
        ({}, "operations is a dict, not a list"),
        ([], "must be a list of operations that is not empty"),
        ([7], "operation 1 is a int, not a map"),
        ([{"kind": "job", "name": "x"}], "action"),
        ([{"action": "put", "name": "x"}], "kind"),
        ([{"action": "put", "kind": "job"}], "name"),
        ([{"action": "put", "kind": "policy", "name": "x"}], "operation 1: kind is 'policy'"),
        ([{"action": "put", "kind": ["job"], "name": "x"}], "operation 1: kind is"),
        ([{"action": "drop", "kind": "job", "name": "x"}], "operation 1: action is 'drop'"),
        ([{"action": "put", "kind": "job", "name": "x"}], "spec"),
        ([{"action": "put", "kind": "job", "name": "x", "spec": {}, "y": 1}], "unknown field y"),
        ([{"action": "delete", "kind": "job", "name": "x", "spec": {}}], "unknown field spec"),
        ([{"action": "expect", "kind": "job", "name": "x"}], "expect"),
        ([{"action": "expect", "kind": "job", "name": "x", "expect": "1"}], "expect is '1'"),
        ([{"action": "put", "kind": "job", "name": "../x", "spec": {}}], "job name '../x'"),
        ([{"action": "put", "kind": "job", "name": 7, "spec": {}}], "job name '7'"),
        ([{"action": "put", "kind": "node", "name": "n", "address": 7}], "address"),
    ],
)
def test_what_is_no_transaction_is_refused(
    served: ServedNode, operations: object, words: str
) -> None:
    """As invalid, with the field; never as an error of the server."""
    with pytest.raises(HeroctlError) as caught:
        transact(served, operations)
    assert words in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.http_status in (400, 422)
    assert served.node.replicator.machine.revision == 0
