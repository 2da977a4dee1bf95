"""The probe of a restore: who answers at an address, asked with key and certificate."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transport_ends import TRUST, End, Make, hello, make, run

from heroctl_core.clock import SystemClock
from heroctl_core.crypto import pki
from heroctl_core.errors import WrongKey
from heroctl_core.raft.credentials import Credentials, TlsFiles, Trust
from heroctl_core.raft.greeting import Certificate
from heroctl_core.raft.handshake import Hello
from heroctl_core.raft.probe import Asker, probe

__all__ = ["make"]  # fixtures

ASKER = Asker("prod", "probe", {"key": TRUST.key})


def ask(end: End, address: str, asker: Asker) -> list[tuple[str, Hello]]:
    """What the probe finds, while the node at the other end goes on."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(probe, [address], asker)
        run([end], found.done)
        return found.result()


def trust(folder: Path, node: str) -> Trust:
    """Certificates of an authority in `folder`."""
    if not (folder / pki.CA_CERTIFICATE).exists():
        pki.make_authority(folder, "prod")
    made = pki.issue(folder, node)
    owner = Certificate("prod", node)
    files = TlsFiles(folder / pki.CA_CERTIFICATE, made.cert_file, made.key_file, owner)
    return Trust(TRUST.key, Credentials(files, SystemClock()))


def test_a_node_that_lives_is_found(make: Make) -> None:
    """With what it says of itself; it takes the probe for an empty node and forgets it."""
    one = make(hello("a"))
    ((address, found),) = ask(one, one.address, ASKER)
    assert (address, found.member_id, found.lineage) == (one.address, "a", hello("a").lineage)
    assert one.peers == []


def test_a_node_with_tls_is_found(make: Make, tmp_path: Path) -> None:
    """When the probe shows a certificate of its own."""
    one = make(hello("a"), trust=trust(tmp_path, "node-a"))
    asker = Asker("prod", "node-b", {"key": TRUST.key}, trust(tmp_path, "node-b").credentials)
    ((_, found),) = ask(one, one.address, asker)
    assert found.member_id == "a"


def test_any_of_the_keys_will_do(make: Make) -> None:
    """The node says which one it has."""
    one = make(hello("a"))
    asker = Asker("prod", "probe", {"old": b"an older key", "key": TRUST.key})
    ((_, found),) = ask(one, one.address, asker)
    assert found.member_id == "a"


def test_a_node_with_another_key_is_not_taken_for_absent(make: Make) -> None:
    """It may serve: a restore beside it would make two clusters."""
    one = make(hello("a"))
    with pytest.raises(WrongKey, match=r"node-a at .* has the secrets key key, which is not given"):
        ask(one, one.address, Asker("prod", "probe", {"old": b"an older key"}))


def test_an_empty_node_or_another_cluster_is_nobody(make: Make) -> None:
    """Whatever key they have."""
    empty, foreign = make(hello("a", ())), make(hello("b"))
    other_key = Asker("prod", "probe", {"old": b"an older key"})
    assert ask(empty, empty.address, other_key) == []
    assert ask(foreign, foreign.address, Asker("staging", "probe", {"key": TRUST.key})) == []


def test_what_answers_but_says_nothing_is_told(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node with TLS, asked without: the operator should give its configuration."""
    one = make(hello("a"), trust=trust(tmp_path, "node-a"))
    with caplog.at_level(logging.WARNING):
        assert ask(one, one.address, ASKER) == []
    assert "but not as a node that this one can ask" in caplog.text
