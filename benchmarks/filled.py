"""Data folders that already hold a catalogue, made by real commands and loaded as a dump.

Filling a node with a million rows through its log takes minutes; a folder whose log begins with a
dump is what a node has anyway after such a time.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from heroctl_core.codec import pack_canonical
from heroctl_core.crypto.keys import load_key_file
from heroctl_core.crypto.sealed import Keyring
from heroctl_core.raft.dump import write_dump
from heroctl_core.raft.folder import DataFolder
from heroctl_core.raft.log import Log
from heroctl_core.state.commands import Command, Envelope, PutJob, PutKeyring, PutSecret, encode
from heroctl_core.state.machine import StateMachine
from heroctl_core.state.outcome import Applied, Stamp

CLUSTER: Final = "bench"
_INDEX, _TERM = 2, 1  # where the log begins, behind the anchor of an empty one


def job_name(number: int) -> str:
    """The name of one job."""
    return f"team-{number % 50}.service-{number}"


def secret_name(number: int) -> str:
    """The name of one secret."""
    return f"team-{number % 50}.password-{number}"


def job_spec(number: int) -> dict[str, Any]:
    """A spec as people write them, about 400 bytes; the same for the same number."""
    rng = random.Random(number)
    return {
        "image": f"registry.example.org/team-{number % 50}/service-{number % 997}:"
        f"{rng.randrange(9)}.{rng.randrange(30)}.{rng.randrange(30)}",
        "replicas": rng.randrange(1, 12),
        "resources": {"cpu_m": rng.randrange(1, 40) * 50, "memory_mb": rng.randrange(1, 64) * 64},
        "env": {
            "BUILD": rng.randbytes(20).hex(),
            "DATABASE_URL": f"postgres://db-{rng.randrange(40)}.internal:5432/service_{number}",
            "LOG_LEVEL": rng.choice(("debug", "info", "warning")),
        },
        "ports": [rng.randrange(1024, 60000), rng.randrange(1024, 60000)],
        "health": {"path": "/healthz", "interval_s": rng.choice((5, 10, 30)), "timeout_s": 2},
        "placement": {"zone": rng.choice(("a", "b", "c")), "spread": True},
        "restart": {"policy": "on-failure", "delay_s": 5, "attempts": rng.randrange(1, 9)},
    }


def small_spec(number: int) -> dict[str, Any]:
    """A spec of 256 bytes, half of which no compressor can make smaller."""
    return {"v": random.Random(number).randbytes(62).hex() + "x" * 126}


def filled_machine(key_file: Path, jobs: int, secrets: int, *, small: bool = False) -> StateMachine:
    """A machine that has applied the commands of so many jobs and secrets."""
    machine = StateMachine()
    apply = _Applying(machine)
    if secrets:
        keyring = Keyring.create()
        apply(PutKeyring(keyring.wrap(load_key_file(key_file)), None))
        for number in range(secrets):
            name = secret_name(number)
            value = random.Random(number).randbytes(24).hex().encode()
            apply(PutSecret(name, keyring.seal(name, value), {"owner": "bench"}, None))
    for number in range(jobs):
        spec = small_spec(number) if small else job_spec(number)
        apply(PutJob(job_name(number), pack_canonical(spec), {"team": f"t{number % 50}"}, None))
    return machine


class _Applying:
    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._start_ms = time.time_ns() // 1_000_000 - 24 * 3600 * 1000

    def __call__(self, command: Command) -> None:
        # 20 000 commands a second: more than 65 536 within one millisecond would be refused.
        now_ms = self._start_ms + self._machine.revision // 20
        envelope = Envelope(os.urandom(16), now_ms, "bench", "local", command)
        outcome = self._machine.apply(encode(envelope), Stamp(1, now_ms))
        assert isinstance(outcome, Applied), outcome


def fill_folders(
    folders: Mapping[str, Path],
    addresses: Mapping[str, str],
    key_file: Path,
    jobs: int,
    secrets: int = 0,
    *,
    small: bool = False,
) -> None:
    """Makes a cluster of the named nodes whose logs begin with a dump of so many rows."""
    machine = filled_machine(key_file, jobs, secrets, small=small)
    opened = {
        name: DataFolder.open(path, node_name=name, cluster_name=CLUSTER)
        for name, path in folders.items()
    }
    members = {f.member_id: (name, addresses[name]) for name, f in opened.items()}
    first = next(iter(opened.values()))
    header = first.found(CLUSTER, members)
    ref = write_dump(
        first.generation_folder / "dumps",
        lineage=header.lineage,
        index=_INDEX,
        term=_TERM,
        configuration=header.members.encode(),
        state=machine.dump(),
        pause=_never,
    )
    for folder in opened.values():
        if folder is not first:
            folder.adopt(header.to_value())
            written = first.generation_folder / "dumps" / ref.name
            shutil.copy(written, folder.generation_folder / "dumps" / ref.name)
        shutil.rmtree(folder.generation_folder / "log")
        log = folder.generation_folder / "log"
        Log.create(log, anchor_index=_INDEX, anchor_term=_TERM, dump=ref).close()
        folder.close()


def _never() -> None:
    """No pause: nobody else runs."""
