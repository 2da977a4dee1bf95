"""The example catalogue is what the guide counts, hangs together, and has no real secret in it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heroctl_core.config.documents import values_of
from heroctl_core.testing.memory_node import serve

ROOT = Path(__file__).resolve().parents[2]
MAKE_METRICS = ROOT / "scripts" / "make_metrics.py"
END = "2026-04-26T03:00:00Z"


@pytest.fixture(scope="module")
def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Kind → its documents, over all files."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((ROOT / "examples" / "catalogue").glob("*.yaml")):
        for value in values_of(path.read_text(encoding="utf-8"), name=path.name):
            assert isinstance(value, dict)
            found.setdefault(str(value["kind"]), []).append(value)
    return found


@pytest.fixture(scope="module")
def metrics() -> list[dict[str, Any]]:
    """The generated metric documents."""
    return [json.loads(line) for line in made(seed="1").splitlines() if line != "---"]


def made(*, seed: str, end: str = END) -> str:
    """The text that scripts/make_metrics.py prints in an interpreter with that hash seed."""
    command = [sys.executable, str(MAKE_METRICS), "--end", end]
    return subprocess.check_output(command, text=True, env={"PYTHONHASHSEED": seed})


def test_it_has_what_the_guide_counts(catalogue: dict[str, list[dict[str, Any]]]) -> None:
    """47 jobs, 23 secrets, 12 ACL rules, 4 nodes: the line of the guide."""
    counts = {kind: len(documents) for kind, documents in catalogue.items()}
    rules = sum(len(policy["rules"]) for policy in catalogue["policy"])
    assert (counts["job"], counts["secret"], rules, counts["node"]) == (47, 23, 12, 4)
    assert counts["ingress"] == 9
    assert counts["token"] == 5


def test_a_node_takes_every_document(tmp_path: Path, metrics: list[dict[str, Any]]) -> None:
    """All files and the generated metrics, in one call, through command line and API."""
    folder = tmp_path / "catalogue"
    shutil.copytree(ROOT / "examples" / "catalogue", folder)
    now = datetime.now(UTC).replace(minute=0, second=0)
    (folder / "metrics.yaml").write_text(made(seed="1", end=f"{now:%Y-%m-%dT%H:%M:%SZ}"))
    with serve(tmp_path) as served:
        heroctl = [sys.executable, "-m", "heroctl_cli", "apply", "-o", "json", "-f", str(folder)]
        environment = {**os.environ, "HEROCTL_DATA_DIR": str(tmp_path)}
        told = json.loads(subprocess.check_output(heroctl, text=True, env=environment))
        rules = [rule for policy in served.node.acl.list_policies() for rule in policy.rules]
    assert len(rules) == 12
    assert told["applied"] == {
        "node": 4, "policy": 6, "token": 5, "job": 47, "secret": 23, "ingress": 9,
        "metrics": len(metrics),
    }  # fmt: skip


def test_names_are_unique(catalogue: dict[str, list[dict[str, Any]]]) -> None:
    """No file overwrites what another one puts."""
    for kind, documents in catalogue.items():
        most = Counter(document["name"] for document in documents).most_common(1)[0]
        assert most[1] == 1, (kind, most)


def test_what_is_referred_to_exists(catalogue: dict[str, list[dict[str, Any]]]) -> None:
    """Jobs use secrets that are there, all of them; ingress leads to jobs, tokens to policies."""
    names = {kind: {document["name"] for document in rows} for kind, rows in catalogue.items()}
    used = {name for job in catalogue["job"] for name in job["spec"].get("secrets", {}).values()}
    assert used == names["secret"]
    assert {row["job"] for row in catalogue["ingress"]} <= names["job"]
    assert {policy for row in catalogue["token"] for policy in row["policies"]} <= names["policy"]


def test_every_secret_says_that_it_is_fake(catalogue: dict[str, list[dict[str, Any]]]) -> None:
    """Nobody can take a value of the example for a real one."""
    for document in catalogue["secret"]:
        value = document.get("value") or base64.b64decode(document["value_base64"]).decode()
        assert "fake" in value, document["name"]


def test_metrics_are_seven_full_days(metrics: list[dict[str, Any]]) -> None:
    """Twelve series, one sample a minute for seven days, without a gap, up to the given end."""
    series: dict[str, list[dict[str, Any]]] = {}
    for document in metrics:
        series.setdefault(f"{document['series']} {document['labels']}", []).append(document)
    assert len(series) == 12
    for documents in series.values():
        assert [document["start"][8:10] for document in documents] == [*map(str, range(19, 26))]
        assert {document["start"][10:] for document in documents} == {END[10:]}
        assert all(len(document["values"]) == 24 * 60 for document in documents)
        assert all(document["step_s"] == 60 for document in documents)


def test_metrics_are_the_same_every_time() -> None:
    """The same end gives the same bytes, whatever the interpreter's hash seed."""
    assert made(seed="1") == made(seed="2")
