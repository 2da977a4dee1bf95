"""What users call: rights, validation and sealing around the replicated state.

Knows the replicator's port, never an adapter.
"""
