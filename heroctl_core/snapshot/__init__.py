"""The snapshot archive: docs/archive-format.md in code. It must not know Raft or the server."""
