"""The configuration: plain values (model) and how they come out of server.yaml (load)."""
