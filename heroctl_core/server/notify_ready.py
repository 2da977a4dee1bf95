"""Tells systemd how the service is (sd_notify(3)); does nothing anywhere else."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Sends `state`, as in READY=1 or STOPPING=1; False when nobody listens.

    A service manager that went away is no reason for a node to stop: errors count as nobody.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), name)
        except OSError:
            return False
    return True
