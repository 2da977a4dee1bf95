"""Local clusters of several processes on one machine."""

from __future__ import annotations

import subprocess
import sys

from heroctl_core.testing.local_cluster import free_ports

SAY = "from heroctl_core.testing.local_cluster import free_ports; print(*free_ports(3), flush=True)"


def test_nobody_else_gets_the_ports_of_a_living_process() -> None:
    """A node that is down has its port back when it starts again: two test processes would
    otherwise fail now and then."""
    mine = set(free_ports(4))
    command = [sys.executable, "-c", f"{SAY}; input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        third = subprocess.run(
            [sys.executable, "-c", SAY], capture_output=True, text=True, check=True
        )
        others = {int(port) for port in third.stdout.split()}
        other.communicate(b"\n")
    assert [len(mine), len(theirs), len(others)] == [4, 3, 3]
    assert not mine & theirs and not mine & others and not theirs & others


def test_a_process_does_not_get_the_same_ports_twice_in_a_row() -> None:
    """A second cluster is planned while the nodes of the first one do not listen yet."""
    assert not set(free_ports(6)) & set(free_ports(6))
