"""`heroctl ingress`: routes from the outside to jobs."""

from __future__ import annotations

from ..resource import group

command = group(
    "ingress",
    "Routes from the outside to jobs.",
    [
        ("NAME", lambda route: route["name"]),
        ("HOST", lambda route: route["host"]),
        ("PATH", lambda route: route["path"]),
        ("JOB", lambda route: route["job"]),
        ("PORT", lambda route: route["port"]),
        ("TLS", lambda route: route["tls"]),
        ("REVISION", lambda route: route["meta"]["revision"]),
    ],
)
