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
SHARDS: Final = 64  # of about 16 000 rows each at the maximum number of rows
METRIC_SERIES: Final = 1_000
METRIC_WINDOW_MS: Final = 7 * 24 * 3600 * 1000
REQUEST_IDS: Final = 65_536
MESSAGE_BYTES: Final = 500  # of a refusal, which is kept with its request id
REQUEST_AGE_MS: Final = 10 * 60 * 1000
AUDIT_ROWS: Final = 10_000
WATCHERS: Final = 10_000
WATCH_EVENTS: Final = 100_000  # that a watcher can come back for
WATCH_BYTES: Final = 64 * MIB  # of their rows
WATCH_QUEUE: Final = 10_000  # events that one watcher has not read yet

APPEND_BATCH_BYTES: Final = MIB
PROPOSAL_QUEUE: Final = 65_536  # waiting proposals on one node
FRAME_BYTES: Final = 4 * MIB
DUMP_CHUNK_BYTES: Final = 128 * KIB  # a few of them are under way, and heartbeats behind them
LEADER_TIME_SLACK_MS: Final = 60_000

API_BODY_BYTES: Final = MIB
EVENT_BYTES: Final = 2 * MIB  # one line of a stream of changes: a row as JSON, escaped
NESTING: Final = 32  # of lists and maps in a value

ARCHIVE_JSON_BYTES: Final = MIB  # manifest.json, keys.json
ARCHIVE_CHUNK_BYTES: Final = MIB  # of plain text in one sealed chunk
ARCHIVE_WINDOW_BYTES: Final = 8 * MIB  # of zstd, so of memory while reading
ARCHIVE_ROW_BYTES: Final = MIB  # more than any row has: an export of many keys is one row
ARCHIVE_KEY_BYTES: Final = 4 * KIB
ARCHIVE_EXTENSIONS: Final = 64  # sections of embedding services
KEY_FILE_BYTES: Final = 4 * KIB
