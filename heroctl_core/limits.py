"""Every maximum, in one place. Each has an error that names it; docs/limits.md lists them."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

ROW_BYTES: Final = 192 * KIB
ENTRY_BYTES: Final = 256 * KIB
NAME_BYTES: Final = 253
TRANSACTION_OPERATIONS: Final = 500
ROWS: Final = 1_000_000
SHARDS: Final = 64  # of at most about 20 000 keys each at the maximum number of rows
METRIC_SERIES: Final = 1_000
METRIC_WINDOW_MS: Final = 7 * 24 * 3600 * 1000
REQUEST_IDS: Final = 65_536
REQUEST_AGE_MS: Final = 10 * 60 * 1000
AUDIT_ROWS: Final = 10_000

APPEND_BATCH_BYTES: Final = MIB
PROPOSAL_QUEUE: Final = 65_536  # waiting proposals on one node
FRAME_BYTES: Final = 4 * MIB
DUMP_CHUNK_BYTES: Final = 256 * KIB
LEADER_TIME_SLACK_MS: Final = 60_000

API_BODY_BYTES: Final = MIB
NESTING: Final = 32  # of lists and maps in a value
