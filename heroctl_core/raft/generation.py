"""Opens the node of one generation from the data folder: log, dump, machine."""

from __future__ import annotations

import random

from ..clock import Clock
from ..state.machine import StateMachine
from .dump_store import DiskDumps
from .folder import DataFolder
from .log import Log
from .node import RaftNode, Timing
from .transport import Transport


def open_node(
    folder: DataFolder,
    *,
    clock: Clock,
    rng: random.Random,
    timing: Timing,
    transport: Transport,
) -> RaftNode:
    """The node, with everything that its disk holds taken in. A dump or a log that is missing or
    damaged is refused: a node never starts with less than it once acknowledged."""
    header = folder.header
    assert header is not None
    path = folder.generation_folder
    log = Log.open(path / "log")
    dumps = DiskDumps(path / "dumps", header.lineage, transport.wake)
    machine, configuration = StateMachine(), header.members
    try:
        if log.dump is not None:
            loaded = dumps.read(log.dump)
            machine, configuration = loaded.machine, loaded.configuration
            dumps.forget_but(log.dump)
    except BaseException:
        log.close()
        dumps.close()
        raise
    return RaftNode(
        folder.member_id,
        log=log,
        dumps=dumps,
        machine=machine,
        configuration=configuration,
        clock=clock,
        rng=rng,
        timing=timing,
        send=transport.send,
        flush=transport.flush,
        wake=transport.wake,
    )
