"""The replicated state: a pure function from commands to rows and outcomes.

No clock, no randomness, no I/O, no logging; it must not know Raft, files or users' rights.
"""
