"""The authority of a cluster and the certificates of its nodes."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heroctl_core.clock import Clock, SystemClock
from heroctl_core.crypto import pki
from heroctl_core.errors import ConfigError, FileFault, HeroctlError, UsageError
from heroctl_core.raft import credentials as credentials_module
from heroctl_core.raft.credentials import Contexts, Credentials, TlsFiles
from heroctl_core.raft.greeting import Certificate
from heroctl_core.testing.clock import ManualClock

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    pki.make_authority(tmp_path, "prod")
    return tmp_path


def files(folder: Path, node: str = "node-1", ca: Path | None = None) -> TlsFiles:
    return TlsFiles(
        (ca or folder) / "ca.crt",
        folder / f"{node}.crt",
        folder / f"{node}.key",
        Certificate("prod", node),
    )


def credentials(found: TlsFiles, clock: Clock | None = None) -> Credentials:
    return Credentials(found, clock or SystemClock())


def test_a_certificate_names_cluster_and_node_and_lasts_a_year(authority: Path) -> None:
    """And passes where the authority is known; the keys are for their owner alone."""
    made = pki.issue(authority, "node-1", addresses=["10.0.0.1", "n1.example.org"])
    found = credentials(files(authority))
    assert abs(found.contexts.node_expires_s - (NOW + timedelta(days=365)).timestamp()) < 60
    assert abs(found.contexts.authority_expires_s - (NOW + timedelta(days=3650)).timestamp()) < 60
    assert found.warnings == []
    for key in (made.key_file, authority / "ca.key"):
        assert key.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(authority: Path) -> None:
    """Neither an authority nor a certificate, nor one half of a pair."""
    before = {path: path.read_bytes() for path in authority.iterdir()}
    with pytest.raises(UsageError, match=r"ca\.crt exists already"):
        pki.make_authority(authority, "prod")
    pki.issue(authority, "node-1")
    (authority / "node-1.crt").unlink()
    with pytest.raises(UsageError, match=r"node-1\.key exists already"):
        pki.issue(authority, "node-1")
    assert {path: path.read_bytes() for path in before} == before


def test_a_certificate_never_outlives_its_authority(tmp_path: Path) -> None:
    """Of a year that begins in the authority's last month only that month is left."""
    old = NOW - timedelta(days=pki.CA_DAYS - 20)
    made = pki.make_authority(tmp_path, "prod", now=old)
    assert pki.issue(tmp_path, "node-1").not_after == made.not_after
    warnings = credentials(files(tmp_path)).warnings
    assert len(warnings) == 2 and all("expires in 19 days" in text for text in warnings)


def test_an_end_that_comes_near_is_told(authority: Path) -> None:
    """From 30 days before it, by the node's own clock."""
    pki.issue(authority, "node-1")
    clock = ManualClock(time_ms=int(NOW.timestamp() * 1000))
    found = credentials(files(authority), clock)
    clock.advance(334 * 86_400)
    assert found.warnings == []
    clock.advance(2.5 * 86_400)  # not a whole day: certificates end at whole seconds
    (warning,) = found.warnings
    assert "node-1.crt expires in 28 days" in warning
    clock.advance(29 * 86_400)
    (warning,) = found.warnings
    assert "has expired" in warning


@pytest.mark.parametrize(
    ("node", "addresses", "said"),
    [
        ("a b", [], "is no name"),
        ("../node", [], "is no name"),
        ("", [], "is no name"),
        ("node-1", ["not a host"], "neither a host name nor an IP"),
        ("node-1", [""], "neither a host name nor an IP"),
    ],
)
def test_what_is_no_name_is_refused(
    authority: Path, node: str, addresses: list[str], said: str
) -> None:
    """And nothing is written."""
    with pytest.raises(UsageError, match=said):
        pki.issue(authority, node, addresses=addresses)
    assert {path.name for path in authority.iterdir()} == {"ca.crt", "ca.key"}


def test_an_authority_that_cannot_sign_is_told(authority: Path) -> None:
    """Missing, with the key of another one, or with a key that others can read."""
    with pytest.raises(ConfigError, match="no such file"):
        pki.issue(authority / "nothing", "node-1")
    other = authority / "other"
    pki.make_authority(other, "prod")
    os.replace(other / "ca.key", authority / "ca.key")
    with pytest.raises(ConfigError, match=r"is not the key of .*ca\.crt"):
        pki.issue(authority, "node-1")
    (authority / "ca.key").chmod(0o640)
    with pytest.raises(FileFault, match="can be read"):
        pki.issue(authority, "node-1")


def spoil(authority: Path, what: str) -> TlsFiles:
    """Files of node-1 with one thing wrong."""
    pki.issue(authority, "node-1")
    found, other = files(authority), authority / "other"
    if what == "expired":
        pki.issue(authority, "node-1", out=other, now=NOW - timedelta(days=366))
        return files(other, ca=authority)
    if what == "not yet valid":
        pki.issue(authority, "node-1", out=other, now=NOW + timedelta(days=1))
        return files(other, ca=authority)
    if what == "another authority":
        pki.make_authority(other, "prod")
        return TlsFiles(other / "ca.crt", found.cert_file, found.key_file, found.owner)
    if what == "another node":
        pki.issue(authority, "node-2")
        return TlsFiles(
            found.ca_file, authority / "node-2.crt", authority / "node-2.key", found.owner
        )
    if what == "another cluster":
        return TlsFiles(
            found.ca_file, found.cert_file, found.key_file, Certificate("dev", "node-1")
        )
    if what == "another key":
        pki.issue(authority, "node-2")
        os.replace(authority / "node-2.key", found.key_file)
    elif what == "the authority itself":
        found.key_file.write_bytes((authority / "ca.key").read_bytes())
        found.cert_file.write_bytes((authority / "ca.crt").read_bytes())
    elif what == "rubbish":
        found.cert_file.write_text("rubbish")
    elif what == "no authority":
        found.ca_file.write_text("rubbish")
    elif what == "missing":
        found.cert_file.unlink()
    else:
        found.key_file.chmod(0o644)
    return found


WRONG = {
    "expired": "it has expired",
    "not yet valid": "not valid yet; compare the clocks",
    "another authority": "no authority in that file signed it",
    "another node": "is that of node node-2 of cluster prod, this is node-1 of prod",
    "another cluster": "is that of node node-1 of cluster prod, this is node-1 of dev",
    "another key": r"tls\.key_file .* is not the key of tls\.cert_file",
    "the authority itself": "does not pass|has no name",
    "rubbish": "no valid PEM",
    "no authority": r"tls\.ca_file .* has no certificate in PEM",
    "missing": r"tls\.cert_file .*no such file",
    "readable": r"tls\.key_file .*can be read or written by others",
}


@pytest.mark.parametrize("what", WRONG)
def test_files_that_cannot_be_used_are_told(authority: Path, what: str) -> None:
    """ConfigError names the file, says why, and what to do."""
    with pytest.raises(ConfigError, match=WRONG[what]) as caught:
        credentials(spoil(authority, what))
    assert caught.value.hint


def test_new_files_are_taken_and_broken_ones_are_not(authority: Path) -> None:
    """Connections are made with what passed last; what did not is a warning until it is mended."""
    pki.issue(authority, "node-1", now=NOW - timedelta(days=100))
    found = credentials(files(authority))
    first = found.contexts
    found.refresh()
    assert found.contexts is first
    (authority / "node-1.crt").write_text("half a certif")
    found.refresh()
    assert found.contexts is first
    assert "the new TLS files are not used" in found.warnings[0]
    pki.issue(authority, "node-1", out=authority / "new")
    for name in ("node-1.key", "node-1.crt"):
        os.replace(authority / "new" / name, authority / name)
    found.refresh()
    assert found.contexts.node_expires_s > first.node_expires_s
    assert found.warnings == []


def test_every_connection_shows_its_certificate(authority: Path) -> None:
    """No session can be resumed, under a certificate that was replaced since."""
    pki.issue(authority, "node-1")
    contexts = credentials(files(authority)).contexts
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts.client.wrap_bio(back, there)
    server = contexts.server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for handshaken in (client, server):
            with suppress(ssl.SSLWantReadError):
                handshaken.do_handshake()
    server.write(b"x")
    assert client.read(1) == b"x"
    assert client.session is None or not client.session.has_ticket


def test_the_first_authority_to_end_is_told(authority: Path) -> None:
    """While one is replaced by another, both are in ca_file."""
    pki.issue(authority, "node-1")
    soon = NOW - timedelta(days=pki.CA_DAYS - 20)
    pki.make_authority(authority / "old", "prod", now=soon)
    both = authority / "both.crt"
    both.write_bytes((authority / "ca.crt").read_bytes() + (authority / "old/ca.crt").read_bytes())
    found = credentials(replace(files(authority), ca_file=both))
    (warning,) = found.warnings
    assert "both.crt expires in 19 days" in warning


def test_files_that_are_replaced_while_they_are_read_wait(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read may be half old and half new; the next look takes it."""
    pki.issue(authority, "node-1", now=NOW - timedelta(days=100))
    found = credentials(files(authority))
    first, load = found.contexts, credentials_module._load

    def replaced(of: TlsFiles) -> Contexts:
        loaded = load(of)
        os.utime(of.cert_file, (1, 1))
        return loaded

    pki.issue(authority, "node-1", out=authority / "new")
    for name in ("node-1.key", "node-1.crt"):
        os.replace(authority / "new" / name, authority / name)
    with monkeypatch.context() as patch:
        patch.setattr(credentials_module, "_load", replaced)
        found.refresh()
    assert found.contexts is first
    found.refresh()
    assert found.contexts is not first


def test_files_that_vanish_change_nothing(authority: Path) -> None:
    """Somebody is in the middle of replacing them, or made a mistake."""
    pki.issue(authority, "node-1")
    found = credentials(files(authority))
    first = found.contexts
    (authority / "node-1.key").unlink()
    found.refresh()
    assert found.contexts is first
    assert "no such file" in found.warnings[0]


def test_every_mistake_is_an_error_with_a_way_out(authority: Path) -> None:
    """A hint says what to type."""
    with pytest.raises(HeroctlError) as caught:
        credentials(spoil(authority, "expired"))
    assert "heroctl tls issue --node node-1" in str(caught.value.hint)
