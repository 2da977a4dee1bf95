"""Metric history over the API, and what a node says about itself: status, health, metrics."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from test_server_api import raw

from heroctl_core.errors import CommandRejected
from heroctl_core.testing.memory_node import ServedNode


def test_metrics_are_put_and_read(served: ServedNode) -> None:
    """Values with a step become samples; many values are many writes of one call."""
    client = served.client()
    now_s = served.node.replicator.status().mode_since_ms // 60_000 * 60
    start_ms = (now_s - 6000 * 60) * 1000
    document = {
        "series": "node_cpu_percent", "labels": {"node": "n1"},
        "start": start_ms, "step_s": 60, "values": [i / 2 for i in range(6000)],
    }  # fmt: skip
    assert client.write("POST", "/v1/metrics", document).body["samples"] == 6000
    (listed,) = client.get("/v1/metrics").body["items"]
    assert (listed["series"], listed["labels"], listed["meta"]["count"]) == (
        "node_cpu_percent", {"node": "n1"}, 6000,
    )  # fmt: skip
    query = {"label.node": "n1", "since": listed["meta"]["last"]}
    (found,) = client.get("/v1/metrics/node_cpu_percent", query).body["items"]
    assert found["samples"] == [[listed["meta"]["last"], 2999.5]]
    assert client.get("/v1/metrics/node_cpu_percent", {"label.node": "n2"}).body["items"] == []
    again = {**found, "samples": [[listed["meta"]["last"], 7.25]]}
    client.write("POST", "/v1/metrics", again)
    (found,) = client.get("/v1/metrics/node_cpu_percent", query).body["items"]
    assert found["samples"][0][1] == 7.25


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": None}, "start is missing"),
        ({"step_s": 0}, "allowed: a number above 0"),
        ({"step_s": True}, "allowed: a number above 0"),
        ({"values": 3}, "values must be a list"),
        ({"samples": [[1]]}, "sample 1 must be [time, value]"),
        ({"values": ["x"]}, "value"),
    ],
)
def test_wrong_metrics_are_refused(served: ServedNode, change: dict[str, Any], said: str) -> None:
    """The message names the field."""
    document = {"series": "s", "start": "2026-01-01T00:00:00Z", "step_s": 1, "values": [1]}
    with pytest.raises(CommandRejected) as caught:
        served.client().write("POST", "/v1/metrics", {**document, **change})
    assert said in caught.value.message


def test_the_status_says_all_about_the_node(served: ServedNode) -> None:
    """Any token may see it; health needs none."""
    status = served.client().get("/v1/status").body
    assert (status["mode"], status["leader"], status["role"]) == ("NORMAL", "memory", "leader")
    assert status["members"][0]["is_leader"] is True
    for path in ("/livez", "/readyz"):
        assert raw(served, "GET", path)[0] == 200
    served.node.replicator.go_read_only()
    assert raw(served, "GET", "/livez")[0] == 200
    status_code, _, answer = raw(served, "GET", "/readyz")
    assert status_code == 503 and json.loads(answer)["reason"] == "read_only"


def test_a_node_that_has_not_applied_its_log_is_not_ready(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and knows its leader, but what it shows is from before its start."""
    look = served.node.replicator.status()
    starting = replace(look, last_contact_s=math.inf)
    monkeypatch.setattr(served.node.replicator, "status", lambda: starting)
    assert raw(served, "GET", "/livez")[0] == 200
    code, _, answer = raw(served, "GET", "/readyz")
    assert code == 503 and "has not applied its log yet" in json.loads(answer)["detail"]


def test_what_went_wrong_is_counted(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """In /metrics as counters and in the status under the same names."""
    counts = {"leader_changes": 3, "failed_installs": 2, "peers_cut_off": 7}
    look = replace(served.node.replicator.status(), **counts)
    monkeypatch.setattr(served.node.replicator, "status", lambda: look)
    lines = raw(served, "GET", "/metrics")[2].decode().splitlines()
    status = served.client().get("/v1/status").body
    for name, count in counts.items():
        assert f"# TYPE heroctl_raft_{name}_total counter" in lines
        assert f"heroctl_raft_{name}_total {count}" in lines
        assert status[name] == count


def test_metrics_are_in_prometheus_format(served: ServedNode) -> None:
    """Every sample has a help and a type line before it, and the names that were promised."""
    served.node.jobs.put("web", {})
    status, headers, body = raw(served, "GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    lines = body.decode().splitlines()
    assert "heroctl_raft_has_quorum 1" in lines
    assert 'heroctl_state_rows{kind="jobs"} 1' in lines
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    for name in names:
        assert any(line.startswith(f"# TYPE {name} ") for line in lines)
        assert any(line.startswith(f"# HELP {name} ") for line in lines)
