"""A control plane inside another program: real disk, real engine, one voter."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from heroctl_core.control_plane import ControlPlane
from heroctl_core.crypto.keys import generate_key_file
from heroctl_core.errors import (
    Busy,
    CommandRejected,
    HeroctlError,
    LogFault,
    NodeFault,
    NoKey,
    OutcomeUnknown,
    RecoveryError,
    WrongKey,
)
from heroctl_core.raft.disk import Disk
from heroctl_core.raft.port import Mode
from heroctl_core.state.commands import PutJob
from heroctl_core.state.outcome import Applied, Outcome

DEADLINE_S = 20.0
WRITER = Path(__file__).with_name("embedded_writer.py")


def wait(condition: Callable[[], object]) -> None:
    """Until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def put(name: str) -> PutJob:
    return PutJob(name, b"\x80", {}, None)


def test_a_service_watches_its_node(tmp_path: Path) -> None:
    """From now, and after a restart from a cursor of before, as far as the log still tells it."""
    with ControlPlane.open(data_dir=tmp_path / "node") as plane:
        plane.jobs.put("before", {})
        with plane.watch("jobs/") as watch:
            plane.jobs.put("web", {"replicas": 1})
            plane.jobs.delete("web")
            found = []
            while len(found) < 2:
                assert watch.wait(DEADLINE_S)
                found += watch.take()
            assert [(c.action, c.name) for c in found] == [("put", "web"), ("delete", "web")]
        waits = plane.watch("jobs/")
    with pytest.raises(NodeFault):
        list(waits)
    with (
        ControlPlane.open(data_dir=tmp_path / "node") as plane,
        plane.watch("jobs/", since=found[0].cursor) as watch,
    ):
        assert watch.wait(DEADLINE_S)
        assert [(c.action, c.name) for c in watch.take()] == [("delete", "web")]


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Jobs and secrets, revisions and times; open gives a node that takes writes."""
    with ControlPlane.open(data_dir=tmp_path / "node") as plane:
        assert plane.status().is_ready
        first = plane.jobs.put("web", {"image": "shop/web:1"}, labels={"team": "shop"})
        plane.secrets.put("db-password", b"geheim")
        before = plane.jobs.get("web")
        assert before.revision == first.revision
    with ControlPlane.open(data_dir=tmp_path / "node") as plane:
        assert plane.jobs.get("web") == before
        assert plane.secrets.get("db-password").value == b"geheim"
        assert plane.jobs.put("web", {"image": "shop/web:2"}).revision > first.revision
        status = plane.status()
    assert status.mode is Mode.NORMAL
    assert status.generation == 1
    assert status.raft.role == "leader"


def test_a_second_open_names_who_has_the_folder(tmp_path: Path) -> None:
    """Busy, exit code 13, with the process id; the first one is not disturbed."""
    with ControlPlane.open(data_dir=tmp_path) as plane:
        with pytest.raises(Busy, match=rf"pid {os.getpid()}\)") as caught:
            ControlPlane.open(data_dir=tmp_path)
        assert caught.value.exit_code == 13
        plane.jobs.put("web", {})
    ControlPlane.open(data_dir=tmp_path).close()


def test_two_control_planes_in_one_process(tmp_path: Path) -> None:
    """They share nothing."""
    with (
        ControlPlane.open(data_dir=tmp_path / "one") as one,
        ControlPlane.open(data_dir=tmp_path / "two") as two,
    ):
        one.jobs.put("web", {})
        assert [job.name for job in one.jobs.list()] == ["web"]
        assert two.jobs.list() == []
        assert one.status().raft.cluster_id != two.status().raft.cluster_id


def test_close_may_be_called_twice_and_ends_every_call(tmp_path: Path) -> None:
    """Afterwards a write says that the node is closed; what was read last is still readable."""
    plane = ControlPlane.open(data_dir=tmp_path)
    plane.jobs.put("web", {"replicas": 3})
    plane.close()
    plane.close()
    with pytest.raises(NodeFault, match="this node is closed"):
        plane.jobs.put("web", {})
    with pytest.raises(NodeFault, match="this node is closed"):
        plane.jobs.get("web")
    assert plane.jobs.get("web", consistency="stale").spec == {"replicas": 3}
    status = plane.status()
    assert status.raft.role == "stopped"
    assert not status.is_ready


def test_close_ends_the_writes_that_are_under_way(tmp_path: Path) -> None:
    """Each is applied, or its future fails; none waits for its deadline, and what was applied is
    there after a restart."""
    plane = ControlPlane.open(data_dir=tmp_path)
    futures: dict[str, Future[Outcome]] = {}
    going = threading.Event()

    def write(thread: int) -> None:
        number = 0
        while True:
            name = f"job-{thread}-{number}"
            futures[name] = plane.submit(put(name))
            number += 1
            if number == 200:
                going.set()
            failed = futures[name].done() and futures[name].exception() is not None
            if failed or number == 20_000:
                return

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, thread) for thread in range(4)]
        assert going.wait(DEADLINE_S)
        assert isinstance(futures["job-0-0"].result(DEADLINE_S), Applied)
        began = time.monotonic()
        plane.close()
        for writer in writers:
            writer.result(DEADLINE_S)
    ends = {name: future.exception(timeout=0) for name, future in futures.items()}
    assert time.monotonic() - began < 4.0
    assert all(error is None or isinstance(error, HeroctlError) for error in ends.values())
    assert None in ends.values()
    with ControlPlane.open(data_dir=tmp_path) as again:
        there = {job.name for job in again.jobs.list()}
    assert {name for name, error in ends.items() if error is None} <= there


def test_calls_of_many_threads_all_end(tmp_path: Path) -> None:
    """Also the reads, and the ones that come while the node closes."""
    plane = ControlPlane.open(data_dir=tmp_path)
    plane.jobs.put("web", {})
    started = threading.Barrier(9)

    def call(thread: int) -> None:
        started.wait(DEADLINE_S)
        while True:
            try:
                plane.jobs.get("web") if thread % 2 else plane.jobs.list()
            except NodeFault:
                return

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call, thread) for thread in range(8)]
        started.wait(DEADLINE_S)
        began = time.monotonic()
        plane.close()
        for caller in callers:
            caller.result(DEADLINE_S)
    assert time.monotonic() - began < 4.0


def test_a_fork_is_told_so(tmp_path: Path) -> None:
    """In the child every call names the fork and the way out, its end closes nothing of the
    parent's, and it does not hold the folder when the parent has gone."""
    plane = ControlPlane.open(data_dir=tmp_path)
    plane.jobs.put("web", {})
    read_end, write_end = os.pipe()
    stay, leave = os.pipe()
    child = os.fork()
    if child == 0:  # nothing may return from here
        try:
            os.close(leave)
            said = []
            for call in (lambda: plane.jobs.put("x", {}), lambda: plane.jobs.get("web"),
                         lambda: plane.jobs.list()):  # fmt: skip
                try:
                    call()
                    said.append("it went through")
                except HeroctlError as error:
                    said.append(f"{type(error).__name__}: {error} – {error.hint}")
            plane.close()
            os.write(write_end, "\n".join(said).encode())
            os.close(write_end)
            os.read(stay, 1)  # until the parent has seen enough
        finally:
            os._exit(0)
    os.close(write_end)
    os.close(stay)
    with os.fdopen(read_end) as told:
        said = told.read().splitlines()
    assert len(said) == 3
    for line in said:
        assert line.startswith("UsageError: this control plane belongs to process")
        assert f"not to its fork {child}" in line
        assert "open it after the fork" in line
    plane.jobs.put("web", {"after": "the fork"})
    plane.close()
    with ControlPlane.open(data_dir=tmp_path) as again:  # while the child still lives
        assert [job.name for job in again.jobs.list()] == ["web"]
    os.close(leave)
    os.waitpid(child, 0)


def test_every_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    """Five times: a program writes, is killed, and the next one finds all of it."""
    acknowledged = -1
    for _ in range(5):
        command = [sys.executable, str(WRITER), str(tmp_path), str(acknowledged + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(30)]
            writer.kill()
            told += [int(line) for line in writer.stdout.read().splitlines(keepends=True)
                     if line.endswith("\n")]  # fmt: skip
        assert told == list(range(acknowledged + 1, acknowledged + 1 + len(told)))
        acknowledged = told[-1]
        with ControlPlane.open(data_dir=tmp_path) as plane:
            found = {job.name: job.spec["number"] for job in plane.jobs.list()}
        expected = {f"job-{number}": number for number in range(acknowledged + 1)}
        assert expected.items() <= found.items()
        acknowledged = len(found) - 1  # one more may have been on the disk already


def test_another_key_does_not_open_the_node(tmp_path: Path) -> None:
    """Exit code 8 at open, before anything is served; with the right key it goes on."""
    key_file = tmp_path / "node" / "cluster.key"
    with ControlPlane.open(data_dir=tmp_path / "node") as plane:
        plane.secrets.put("db-password", b"geheim")
    right = key_file.read_bytes()
    key_file.unlink()
    generate_key_file(key_file)
    with pytest.raises(WrongKey) as caught:
        ControlPlane.open(data_dir=tmp_path / "node")
    assert caught.value.exit_code == 8
    key_file.write_bytes(right)
    with ControlPlane.open(data_dir=tmp_path / "node") as plane:
        assert plane.secrets.get("db-password").value == b"geheim"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Exit code 8, with the command that mends it; the folder is free again afterwards."""
    key_file = tmp_path / "backup.key"
    generate_key_file(key_file)
    key_file.chmod(0o644)
    for _ in range(2):
        with pytest.raises(NoKey, match="0644") as caught:
            ControlPlane.open(data_dir=tmp_path / "node", key_file=key_file)
        assert caught.value.exit_code == 8
        assert "chmod 600" in str(caught.value.hint)


def test_a_snapshot_needs_a_key_file(tmp_path: Path) -> None:
    """With one the archive is written and counted; without one exit code 8 names the setting."""
    key_file = tmp_path / "backup.key"
    generate_key_file(key_file)
    with ControlPlane.open(data_dir=tmp_path / "one", key_file=key_file) as plane:
        plane.jobs.put("web", {})
        plane.secrets.put("db-password", b"geheim")
        saved = plane.snapshot.save(tmp_path / "snap.tar.gz")
    assert saved.counts == {"jobs": 1, "secrets": 1, "acl_rules": 0, "nodes": 0}
    assert not saved.stale
    assert (tmp_path / "snap.tar.gz").stat().st_size == saved.size_bytes
    with (
        ControlPlane.open(data_dir=tmp_path / "two") as plane,
        pytest.raises(NoKey, match=r"backup\.encryption_key_file"),
    ):
        plane.snapshot.save(tmp_path / "other.tar.gz")
    assert not (tmp_path / "other.tar.gz").exists()


def test_an_exception_in_the_engine_stops_the_node_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names it, everything that waits ends, the folder is free, and a restart goes on."""
    plane = ControlPlane.open(data_dir=tmp_path)
    plane.jobs.put("web", {"replicas": 3})

    def break_the_machine() -> None:
        plane._runtime.machine.apply = None  # type: ignore[method-assign,assignment]

    plane._runtime.call(break_the_machine).result(DEADLINE_S)
    waiting = [plane.submit(put(f"job-{i}")) for i in range(10)]
    errors = [future.exception(DEADLINE_S) for future in waiting]
    assert all(isinstance(error, HeroctlError) for error in errors), errors
    wait(lambda: plane.status().raft.role == "stopped")
    assert "the engine stopped" in str(plane.fault)
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    assert any("the engine stopped" in warning for warning in plane.status().raft.warnings)
    with pytest.raises(NodeFault, match="the engine stopped"):
        plane.jobs.put("web", {})
    assert plane.jobs.get("web", consistency="stale").spec == {"replicas": 3}
    plane.close()
    with ControlPlane.open(data_dir=tmp_path) as again:
        assert isinstance(again.submit(put("after")).result(DEADLINE_S), Applied)


def test_a_disk_that_cannot_sync_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writes that wait end as unknown, and the folder is not opened again in this boot: the
    page cache may show what the disk lacks."""
    plane = ControlPlane.open(data_dir=tmp_path)
    plane.jobs.put("web", {})

    def fail(_disk: Disk, _fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Disk, "sync_data", fail)
        errors = [plane.submit(put(f"job-{i}")).exception(DEADLINE_S) for i in range(3)]
    assert isinstance(errors[0], OutcomeUnknown)
    assert all(isinstance(error, OutcomeUnknown | NodeFault) for error in errors)
    wait(lambda: plane.status().raft.role == "stopped")
    assert isinstance(plane.fault, LogFault)
    assert str(tmp_path) in str(plane.fault)
    plane.close()
    with pytest.raises(NodeFault, match="suspect") as caught:
        ControlPlane.open(data_dir=tmp_path)
    assert "reboot" in str(caught.value.hint)


def test_what_a_call_raises_goes_to_its_caller(tmp_path: Path) -> None:
    """Whatever it is; the node goes on."""
    with ControlPlane.open(data_dir=tmp_path) as plane:

        def fail() -> None:
            raise LookupError("of the caller")

        with pytest.raises(LookupError, match="of the caller"):
            plane._runtime.call(fail).result(DEADLINE_S)
        plane.jobs.put("web", {})


def test_a_node_whose_quorum_came_back_is_not_frozen(tmp_path: Path) -> None:
    """Who asks for a forced bootstrap looked a moment ago; what counts is the engine's own look."""
    with ControlPlane.open(data_dir=tmp_path) as plane:
        runtime = plane._runtime
        with pytest.raises(RecoveryError, match="has a quorum again"):
            runtime.call(lambda: runtime.freeze("a forced bootstrap")).result()
        assert not (tmp_path / "frozen.json").exists()
        plane.jobs.put("web", {})


def test_a_refused_write_leaves_the_node_alone(tmp_path: Path) -> None:
    """An expect that does not hold is a conflict, and nothing else."""
    with ControlPlane.open(data_dir=tmp_path) as plane:
        revision = plane.jobs.put("web", {}, expect=0).revision
        with pytest.raises(CommandRejected) as caught:
            plane.jobs.put("web", {}, expect=0)
        assert caught.value.reason == "conflict"
        assert plane.jobs.put("web", {}, expect=revision).revision > revision
