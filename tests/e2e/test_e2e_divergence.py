"""A node of a real cluster whose state is not the others'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_fixture import ThreeNodes, put, wait

from heroctl_core.errors import NodeFault
from heroctl_core.raft import divergence


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreeNodes]:
    """A cluster that compares its states all the time."""
    monkeypatch.setattr(divergence, "EVERY_S", 0.2)
    cluster = ThreeNodes(tmp_path)
    try:
        cluster.start()
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


def test_it_stops_itself_loudly_and_comes_back_from_its_log(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong only in its memory is right again after a start; the others went on."""
    put(three.nodes["n0"], "web", replicas=3)
    wrong = three.followers()[0]
    plane = three.nodes[wrong]
    wait(lambda: plane.jobs.get("web"))
    table = plane._runtime.machine._rows.tables["jobs"]
    plane._runtime.call(lambda: table.put("web", b"another row")).result()
    other = three.nodes[three.leader()]

    def fault() -> object:
        put(other, "more")
        return plane.fault

    assert isinstance(wait(fault), NodeFault)
    assert "jobs is" in str(plane.fault) and "differs from the majority's" in str(plane.fault)
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    assert [node.fault for name, node in three.nodes.items() if name != wrong] == [None, None]
    three.stop(wrong)
    three.start(wrong)
    three.wait_ready()
    assert three.nodes[wrong].jobs.get("web").spec == {"replicas": 3}
