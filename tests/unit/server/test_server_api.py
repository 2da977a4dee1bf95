"""The HTTP API over real sockets: resources, consistency, limits, errors as problem documents."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from heroctl_core.client import Client, new_request_id, path_of
from heroctl_core.errors import (
    CommandRejected,
    HeroctlError,
    NodeFault,
    OutcomeUnknown,
    Overloaded,
    ReadOnly,
    UsageError,
)
from heroctl_core.testing.memory_node import ServedNode

WEB = {"kind": "job", "labels": {"team": "shop"}, "spec": {"image": "web:2", "replicas": 3}}
DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/jobs/web", WEB),
    ("/v1/secrets/db", {"value": "hünter2", "metadata": {"owner": "x"}}),
    ("/v1/acl/policies/deployers",
     {"rules": [{"resource": "job", "name": "*", "actions": ["read"], "effect": "deny"}]}),
    ("/v1/ingress/shop",
     {"host": "shop.example.org", "path": "/", "job": "web", "port": 8080, "tls": True}),
    ("/v1/nodes/node-1",
     {"address": "10.20.0.11", "labels": {"zone": "a"}, "resources": {"cpu": 16}}),
]  # fmt: skip


def raw(
    served: ServedNode, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request that our own client would not send."""
    connection = http.client.HTTPConnection(served.address, timeout=10)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=told)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, dict(response.headers), data


@pytest.mark.parametrize(("path", "document"), DOCUMENTS)
def test_a_document_comes_back_as_it_was_put(
    served: ServedNode, path: str, document: dict[str, Any]
) -> None:
    """Every kind: put, get, put what was read, list, delete, and it is gone."""
    client = served.client()
    client.write("PUT", "/v1/jobs/web", WEB)
    written = client.write("PUT", path, document)
    found = client.get(path)
    assert {key: found.body[key] for key in document} == document
    assert found.body["meta"]["revision"] == written.body["revision"] == written.revision
    again = client.write("PUT", path, found.body, expect=written.body["revision"])
    assert again.body["revision"] > written.body["revision"]
    (listed,) = client.get(path.rpartition("/")[0]).body["items"]
    assert listed["name"] == found.body["name"]
    if path == "/v1/jobs/web":
        assert client.write("DELETE", path, expect=again.body["revision"])
    else:
        assert client.write("DELETE", path).body["revision"]
    with pytest.raises(CommandRejected, match="does not exist") as caught:
        client.get(path)
    assert (caught.value.reason, caught.value.exit_code) == ("not_found", 6)


def test_a_list_never_shows_the_value_of_a_secret(served: ServedNode) -> None:
    """Reading one secret is another right than listing."""
    served.client().write("PUT", "/v1/secrets/db", {"value": "hunter2"})
    assert "hunter2" not in json.dumps(served.client().get("/v1/secrets").body)


@pytest.mark.parametrize("name", ["team/web", "a b", "käse", "a+b", "100%", "a?b=c", "a#b"])
def test_a_name_survives_the_path(served: ServedNode, name: str) -> None:
    """Whatever the state allows as a name can be written, read and deleted by it."""
    client = served.client()
    client.write("PUT", path_of("jobs", name), WEB)
    assert client.get(path_of("jobs", name)).body["name"] == name
    assert [job.name for job in served.node.jobs.list()] == [name]
    client.write("DELETE", path_of("jobs", name))


@pytest.mark.parametrize("name", ["../x", "a/../b", "", ".", "x" * 254, "a\x00b", "/a"])
def test_a_bad_name_is_refused(served: ServedNode, name: str) -> None:
    """Empty, too long, or trying to leave a folder: never a row."""
    with pytest.raises(HeroctlError) as caught:
        served.client().write("PUT", path_of("jobs", name), WEB)
    assert caught.value.exit_code in (2, 6)
    assert served.node.jobs.list() == []


def test_lists_are_paged_in_order(served: ServedNode) -> None:
    """`next` leads to the following page; the last page has none."""
    client = served.client()
    for i in range(5):
        served.node.jobs.put(f"j{i}", {})
    served.node.jobs.put("other", {})
    first = client.get("/v1/jobs", {"prefix": "j", "limit": 3}).body
    rest = client.get("/v1/jobs", {"prefix": "j", "limit": 3, "after": first["next"]}).body
    assert [item["name"] for item in first["items"]] == ["j0", "j1", "j2"]
    assert [item["name"] for item in rest["items"]] == ["j3", "j4"]
    assert rest["next"] is None


def test_two_writers_with_the_same_expectation_meet_in_a_conflict(served: ServedNode) -> None:
    """If-Match is compare-and-set: exactly one of eight wins."""
    seen = served.client().write("PUT", "/v1/jobs/web", WEB).body["revision"]

    def write(_: int) -> str:
        try:
            served.client().write("PUT", "/v1/jobs/web", WEB, expect=seen)
        except CommandRejected as error:
            return error.reason
        return "won"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, range(8)))
    assert sorted(results) == ["conflict"] * 7 + ["won"]


def test_if_none_match_makes_only_new_rows(served: ServedNode) -> None:
    """`If-None-Match: *` is expect 0."""
    headers = {"If-None-Match": "*", "Content-Type": "application/json"}
    token = served.token()
    headers["Authorization"] = f"Bearer {token}"
    codes = [
        raw(served, "PUT", "/v1/jobs/web", json.dumps(WEB).encode(), **headers)[0] for _ in range(2)
    ]
    assert codes == [200, 409]


def test_a_repeated_request_has_one_effect(served: ServedNode) -> None:
    """The same Idempotency-Key gives the first outcome again."""
    client, name = served.client(), new_request_id()
    first = client.write("PUT", "/v1/jobs/web", WEB, request_id=name)
    second = client.write("PUT", "/v1/jobs/web", WEB, request_id=name)
    assert first.body == second.body
    assert served.node.jobs.get("web").version == 1


def test_a_lost_answer_is_outcome_unknown_with_its_request_id(served: ServedNode) -> None:
    """Exit code 15, and the message has the id under which it may be repeated."""
    served.node.replicator.lose_outcomes()
    name = new_request_id()
    with pytest.raises(OutcomeUnknown, match=name) as caught:
        served.client().write("PUT", "/v1/jobs/web", WEB, request_id=name)
    assert caught.value.exit_code == 15


def test_without_a_quorum_only_stale_reads_answer(served: ServedNode) -> None:
    """A stale answer says how old it is; writes and default reads are refused with exit code 4."""
    client = served.client()
    client.write("PUT", "/v1/jobs/web", WEB)
    assert client.get("/v1/jobs/web").age_s is None
    served.node.replicator.go_read_only()
    for ask in (
        lambda: client.get("/v1/jobs/web"),
        lambda: client.get("/v1/jobs"),
        lambda: client.write("PUT", "/v1/jobs/web", WEB),
    ):
        with pytest.raises(ReadOnly) as caught:
            ask()
        assert caught.value.exit_code == 4 and "--force-bootstrap" in str(caught.value.hint)
    stale = client.get("/v1/jobs/web", {"consistency": "stale"})
    assert stale.body["name"] == "web" and stale.age_s is not None and stale.age_s >= 0


def test_every_answer_says_where_the_state_stands(served: ServedNode) -> None:
    """Revision, generation and leader are headers of good and bad answers."""
    served.node.jobs.put("web", {})
    status, headers, _ = raw(served, "GET", "/v1/jobs/web")
    assert status == 401
    assert (headers["X-Heroctl-Revision"], headers["X-Heroctl-Generation"]) == ("1", "1")
    answer = served.client().get("/v1/jobs/web")
    assert (answer.revision, answer.generation, answer.leader) == (1, 1, "memory")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/jobs/web", {"spec": {}, "name": "other"}, "the body has the name 'other'"),
        ("/v1/jobs/web", {"spec": {}, "kind": "secret"}, "of kind 'secret'; allowed here: job"),
        ("/v1/jobs/web", {"labels": {}}, "job: spec is missing"),
        ("/v1/jobs/web", {"spec": []}, "is a list, not a map"),
        ("/v1/jobs/web", {"spec": {}, "lables": {}}, "unknown field lables; allowed: kind,"),
        ("/v1/jobs/web", {"spec": {}, "labels": {"a": 1}}, "labels of job web.a is a int"),
        ("/v1/jobs/web", [1], "the body is a list, not a job document"),
        ("/v1/secrets/s", {}, "one of value and value_base64"),
        ("/v1/secrets/s", {"value": "a", "value_base64": "YQ=="}, "one of value and"),
        ("/v1/secrets/s", {"value_base64": "%"}, "is not base64"),
        ("/v1/secrets/s", {"value": 5}, "value is a int, not text: quote this"),
        ("/v1/acl/policies/p", {"rules": {}}, "must be a list"),
        ("/v1/acl/tokens/t", {"policies": ["none"]}, "policy none does not exist"),
        ("/v1/acl/tokens/t", {"policies": [], "expires": "soon"}, "allowed: a time, as in"),
        ("/v1/acl/tokens/t", {"policies": [], "expires": "2027-01-01T00:00"}, "add Z for UTC"),
        ("/v1/ingress/i", {"host": "a.b", "port": 1}, "ingress: job is missing"),
        ("/v1/ingress/i", {"host": "a.b", "port": 1, "job": "no"}, "job no does not exist"),
        ("/v1/nodes/n", {"labels": {}}, "node: address is missing"),
        ("/v1/nodes/n", {"address": "a", "resources": 3}, "resources is a int, not a map"),
    ],
)
def test_a_wrong_document_is_refused_with_the_reason(
    served: ServedNode, path: str, body: Any, said: str
) -> None:
    """Exit code 2, the field, and what is allowed."""
    with pytest.raises(CommandRejected) as caught:
        served.client().write("PUT", path, body)
    assert said in caught.value.message, caught.value.message
    assert caught.value.exit_code == 2
    assert served.node.replicator.machine.revision == 0


def test_a_body_over_the_limit_is_refused_and_the_limit_named(served: ServedNode) -> None:
    """A 10 MB job: exit code 2, both numbers, nothing stored, and the node goes on."""
    client = served.client()
    job = {"spec": {"blob": "x" * 10_000_000}}
    with pytest.raises(CommandRejected, match=r"body has 10\d+ bytes, the limit is 200000") as got:
        client.write("PUT", "/v1/jobs/big", job)
    assert (got.value.reason, got.value.exit_code) == ("too_large", 2)
    assert served.node.jobs.list() == []
    tcp = served.client(served.token())
    with pytest.raises(CommandRejected, match="the limit is 200000"):
        tcp.write("PUT", "/v1/jobs/big", job)
    assert client.write("PUT", "/v1/jobs/small", WEB).revision


def test_a_row_over_its_limit_is_refused(served: ServedNode) -> None:
    """The body may pass where the row may not: the state's own limit is named."""
    with pytest.raises(CommandRejected, match="limit is 196608") as caught:
        served.client().write("PUT", "/v1/jobs/big", {"spec": {"blob": "x" * 199_000}})
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "is no JSON"),
        (b'{"spec": {}, "spec": {}}', "duplicate key"),
        (b'{"spec": {"a": NaN}}', "NaN is no JSON"),
        (b'{"spec": {"a": 1e999}}', "JSON cannot hold"),
        (b'{"spec": ' + b'{"a":' * 40 + b"1" + b"}" * 41, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b"\xff", "is no JSON"),
        (b"", "is no JSON"),
    ],
)
def test_a_body_that_is_no_json_value_of_ours_is_refused(
    served: ServedNode, body: bytes, said: str
) -> None:
    """Each gets a problem document; none ends the node."""
    token = served.token()
    status, headers, answer = raw(
        served, "PUT", "/v1/jobs/web", body,
        Content_Type="application/json", Authorization=f"Bearer {token}",
    )  # fmt: skip
    assert status == 422, answer
    assert headers["Content-Type"].startswith("application/problem+json")
    told = json.loads(answer)
    assert said in told["detail"]
    assert (told["reason"], told["status"], told["exit_code"]) == ("invalid", 422, 2)


def test_only_json_is_taken(served: ServedNode) -> None:
    """Anything else is 415, before it is read."""
    token = served.token()
    status, _, answer = raw(
        served, "PUT", "/v1/jobs/web", b"spec: {}",
        Content_Type="application/yaml", Authorization=f"Bearer {token}",
    )  # fmt: skip
    assert status == 415 and b"allowed: application/json" in answer


@pytest.mark.parametrize(
    ("header", "value"),
    [("If-Match", '"x"'), ("If-None-Match", "5"), ("Idempotency-Key", "short")],
)
def test_a_wrong_header_is_refused(served: ServedNode, header: str, value: str) -> None:
    """A condition that is not understood must not be dropped."""
    token = served.token()
    headers = {
        header: value,
        "Content-Type": "application/json",
        "Authorization": "Bearer " + token,
    }
    status, _, answer = raw(served, "PUT", "/v1/jobs/w", json.dumps(WEB).encode(), **headers)
    assert status == 400 and header in json.loads(answer)["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "consistency=maybe"])
def test_a_wrong_query_is_refused(served: ServedNode, query: str) -> None:
    """The allowed values are named."""
    with pytest.raises(UsageError, match="allowed"):
        served.client().get(f"/v1/jobs?{query}")


def test_too_many_requests_are_turned_away_and_health_still_answers(served: ServedNode) -> None:
    """A node whose threads all wait takes a bounded number of requests more; it is alive."""
    served.node.replicator.stall()
    turned_away = threading.Event()

    def write(_: int) -> str:
        with Client(f"unix:{served.socket}") as client:
            try:
                client.write("PUT", "/v1/jobs/web", WEB)
            except (Overloaded, OutcomeUnknown, NodeFault) as error:
                if error.reason == "overloaded":
                    turned_away.set()
                return error.reason
        return "written"

    with ThreadPoolExecutor(70) as pool:
        writes = [pool.submit(write, i) for i in range(70)]
        assert turned_away.wait(10)
        assert raw(served, "GET", "/livez")[0] == 200
        served.node.replicator.close()
        reasons = {future.result() for future in writes}
    assert "overloaded" in reasons and "written" not in reasons


def test_an_unknown_route_is_a_problem_document(served: ServedNode) -> None:
    """Never a page of HTML."""
    with pytest.raises(CommandRejected, match="no route GET /v1/nothing"):
        served.client().get("/v1/nothing")
    with pytest.raises(CommandRejected, match="no route DELETE /v1/status"):
        served.client().write("DELETE", "/v1/status")
