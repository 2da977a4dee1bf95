"""A process that fills a log and says on stdout what is durable; run by test_raft_log_kill.py."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from heroctl_core.raft.log import Log
from heroctl_core.raft.records import DumpRef


def data_of(index: int) -> bytes:
    return random.Random(index).randbytes(index * 37 % 3000)


def main(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    log = Log.open(folder, segment_bytes=256 * 1024)
    log.set_term(log.term + 1, f"{seed:032x}")
    print("open", log.last_index, log.term, flush=True)
    while True:
        for _ in range(chance.randint(1, 20)):
            log.append(data_of(log.last_index + 1), log.last_index + 1, log.term)
        log.set_commit(log.last_index - 3)
        log.sync()
        print("synced", log.synced_index, log.term, flush=True)
        if log.last_index - log.first_index > 2000:
            at = log.last_index - 200
            dump = DumpRef(at, log.term_at(at), "0" * 64, f"dump-{at}")
            log.compact(dump, at - 100)
            print("compacted", at, log.term, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
