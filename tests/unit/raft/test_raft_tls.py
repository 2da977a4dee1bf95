"""TLS between members: who is let in, who is refused, and what both ends say about it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from transport_ends import (
    DEADLINE_S,
    TRUST,
    End,
    Make,
    Raw,
    connect,
    framed,
    hello,
    make,
    run,
    still_works,
)

from heroctl_core.clock import SystemClock
from heroctl_core.crypto import pki
from heroctl_core.raft.credentials import Credentials, TlsFiles, Trust
from heroctl_core.raft.greeting import Certificate
from heroctl_core.raft.handshake import Relation
from heroctl_core.testing.clock import ManualClock

__all__ = ["make"]  # fixtures

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an authority of cluster prod."""
    folder = tmp_path_factory.mktemp("authority")
    pki.make_authority(folder, "prod")
    return folder


def files(authority: Path, node: str, *, cluster: str = "prod") -> TlsFiles:
    """The files of `node`, which are made the first time."""
    if not (authority / f"{node}.crt").exists():
        pki.issue(authority, node, cluster=cluster)
    return TlsFiles(
        authority / pki.CA_CERTIFICATE,
        authority / f"{node}.crt",
        authority / f"{node}.key",
        Certificate(cluster, node),
    )


def trust(authority: Path, node: str, *, cluster: str = "prod") -> Trust:
    return Trust(TRUST.key, Credentials(files(authority, node, cluster=cluster), SystemClock()))


@pytest.fixture
def tls_pair(make: Make, authority: Path) -> tuple[End, End]:
    """Two peers that are connected over TLS."""
    one = make(hello("a"), trust=trust(authority, "node-a"))
    two = make(hello("b"), trust=trust(authority, "node-b"))
    connect(one, two)
    return one, two


def test_peers_exchange_frames_over_tls(tls_pair: tuple[End, End]) -> None:
    """Small and big frames arrive whole and in order, many records long."""
    one, two = tls_pair
    sent = [["ae", number, os.urandom(size)] for number, size in enumerate((0, 1, 3 << 20, 70_000))]
    for frame in sent:
        one.transport.send("b", frame)
    run([one, two], lambda: len(two.frames) == len(sent))
    assert two.frames == [("a", frame) for frame in sent]
    assert still_works(tls_pair)
    assert one.transport.cut_off == two.transport.cut_off == 0


def test_with_tls_any_address_may_be_listened_on(make: Make, authority: Path) -> None:
    """Not only loopback."""
    one = make(hello("a"), trust=trust(authority, "node-a"), listen="0.0.0.0:0")
    two = make(hello("b"), trust=trust(authority, "node-b"))
    two.transport.dial({one.address.replace("0.0.0.0", "127.0.0.1")})
    run([one, two], lambda: two.peers == ["a"])
    two.transport.send("a", ["ping"])
    run([one, two], lambda: one.frames)
    assert one.frames == [("b", ["ping"])]


def test_what_is_on_the_wire_cannot_be_read(make: Make, authority: Path) -> None:
    """TLS 1.3 and nothing older, and no word of a hello in the clear."""
    one = make(hello("a"), trust=trust(authority, "node-a"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    raw = Raw(one)
    tls = context.wrap_socket(raw.socket, do_handshake_on_connect=False)

    def refused() -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ConnectionError):
            return True
        return False

    run([one], refused)
    run([one], lambda: one.transport.cut_off == 1)
    assert "no TLS 1.3 of a member" in one.refusals[0]


def expired(authority: Path, folder: Path) -> Trust:
    """Of node-b, whose certificate ended yesterday; its own check of that is left out."""
    past = NOW - timedelta(days=pki.NODE_DAYS + 1)
    pki.issue(authority, "node-b", out=folder, now=past)
    credentials = Credentials(files(authority, "node-x"), SystemClock())
    for context in (credentials.contexts.server, credentials.contexts.client):
        context.load_cert_chain(folder / "node-b.crt", folder / "node-b.key")
    return Trust(TRUST.key, credentials)


def another_authority(_: Path, folder: Path) -> Trust:
    pki.make_authority(folder, "prod")
    return trust(folder, "node-b")


def another_cluster(authority: Path, folder: Path) -> Trust:
    pki.issue(authority, "node-b", out=folder, cluster="staging")
    owner = Certificate("staging", "node-b")
    ca_file = authority / pki.CA_CERTIFICATE
    shown = TlsFiles(ca_file, folder / "node-b.crt", folder / "node-b.key", owner)
    return Trust(TRUST.key, Credentials(shown, SystemClock()))


def another_node(authority: Path, _: Path) -> Trust:
    return trust(authority, "node-c")


WRONG: dict[str, tuple[Callable[[Path, Path], Trust], str, str]] = {
    "expired": (expired, "certificate has expired", "refused this node's certificate: it has exp"),
    "another authority": (another_authority, "self-signed|local issuer|not sign", "certificate"),
    "another cluster": (another_cluster, "of cluster 'staging', not", "of cluster 'staging', not"),
    "another node": (another_node, "is that of node 'node-c', it says", "it refused this node: "),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("dialing", ["it dials", "it is dialed"])
def test_a_wrong_certificate_is_refused(
    make: Make, authority: Path, tmp_path: Path, name: str, dialing: str
) -> None:
    """With a reason at both ends, whoever dials; nothing that it says has an effect."""
    make_trust, here, there = WRONG[name]
    one = make(hello("a"), trust=trust(authority, "node-a"))
    two = make(hello("b"), trust=make_trust(authority, tmp_path))
    dialer, dialed = (two, one) if dialing == "it dials" else (one, two)
    dialer.transport.dial({dialed.address})
    run([one, two], lambda: one.refusals and two.refusals)
    matching = [r for r in one.refusals if any(word in r for word in here.split("|"))]
    assert matching, one.refusals
    assert any(there in r for r in two.refusals), two.refusals
    assert one.relations == two.relations == []
    assert one.peers == two.peers == []


def test_a_member_without_the_key_is_refused(make: Make, authority: Path) -> None:
    """A certificate alone is not enough: the proof is asked for inside TLS too."""
    thief = Trust(b"a guess", trust(authority, "node-b").credentials)
    one = make(hello("a"), trust=trust(authority, "node-a"))
    two = make(hello("b"), trust=thief)
    two.transport.dial({one.address})
    run([one, two], lambda: one.refusals)
    assert one.refusals[0] == "it does not have the secrets key key"
    assert one.relations == []


def test_plain_and_tls_do_not_understand_each_other(make: Make, authority: Path) -> None:
    """And say so, whichever of them dials."""
    one = make(hello("a"), trust=trust(authority, "node-a"))
    plain = make(hello("b"))
    one.transport.dial({plain.address})
    run([one, plain], lambda: plain.refusals)
    assert "it speaks TLS, and this node has none" in plain.refusals[0]
    plain.refusals.clear()
    plain.transport.dial({one.address})
    run([one, plain], lambda: any("no TLS 1.3 of a member" in r for r in one.refusals))
    assert one.relations == plain.relations == []


# -- hostile peers


RUBBISH = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(1 << 16),
    "a plain greeting": framed(["greet", {}]),
    "a long record": b"\x16\x03\x01\xff\xff" + bytes(1 << 16),
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_before_the_handshake_is_cut_off(tls_pair: tuple[End, End], name: str) -> None:
    """At once and counted; the others go on."""
    one, two = tls_pair
    raw = Raw(one)
    raw.send(RUBBISH[name])
    run([one, two], raw.look)
    assert one.transport.cut_off == 1
    assert ("speaks HTTP, and this is the Raft port" in one.refusals[0]) is (name == "http")
    assert still_works(tls_pair)


def test_half_a_handshake_is_dropped_after_five_seconds(make: Make, authority: Path) -> None:
    """Whether nothing came, or one byte after the other does."""
    clock = ManualClock()
    one = make(hello("a"), clock, trust=trust(authority, "node-a"))
    silent, slow = Raw(one), Raw(one)
    client = ssl.MemoryBIO()
    begun = trust(authority, "node-b").credentials
    assert begun is not None
    with pytest.raises(ssl.SSLWantReadError):
        begun.contexts.client.wrap_bio(ssl.MemoryBIO(), client).do_handshake()
    greeting = client.read()
    one.transport.poll(0.01)
    for number in range(10):
        slow.send(greeting[number : number + 1])
        clock.advance(0.49)
        one.transport.poll(0.01)
    assert not silent.look()
    assert not slow.look()
    clock.advance(0.2)
    run([one], lambda: silent.look() and slow.look())
    assert one.relations == []


def test_many_half_handshakes_do_not_keep_a_member_out(make: Make, authority: Path) -> None:
    """The oldest makes room for the next one, and a peer gets through."""
    one = make(hello("a"), ManualClock(), trust=trust(authority, "node-a"))
    two = make(hello("b"), trust=trust(authority, "node-b"))
    strangers = [Raw(one) for _ in range(64)]
    for raw in strangers:
        raw.send(b"\x16\x03\x01\x02\x00")
    for _ in range(100):
        raw = Raw(one)
        raw.send(b"\x16\x03\x01")
        strangers.append(raw)
        one.transport.poll(0.0)
    run([one, two], lambda: sum(raw.look() for raw in strangers) >= 164 - 128)
    connect(one, two)
    assert still_works((one, two))
    for raw in strangers:
        raw.close()


def test_who_hangs_up_in_the_handshake_is_no_fault(make: Make, authority: Path) -> None:
    """A port scan or a health check is neither counted nor told."""
    one = make(hello("a"), trust=trust(authority, "node-a"))
    host, _, port = one.address.rpartition(":")
    for _ in range(5):
        socket.create_connection((host, int(port)), timeout=DEADLINE_S).close()
    two = make(hello("b"), trust=trust(authority, "node-b"))
    connect(one, two)
    assert one.transport.cut_off == 0
    assert one.refusals == []
    assert (two.hello.member_id, Relation.PEER) in one.relations
