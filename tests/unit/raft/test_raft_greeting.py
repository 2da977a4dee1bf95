"""What both ends say before they are peers: a hello counts only with a proof of the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from heroctl_core.raft.greeting import NONCE_BYTES, Certificate, Introduction
from heroctl_core.raft.handshake import Hello

KEY = b"derived from the cluster's secrets key"
ME = Hello("shop", "", (), "m1", "boot-1", "node-1", "127.0.0.1:7101", "key", 3)
OTHER = replace(ME, member_id="m2", boot_nonce="boot-2", name="node-2")
Frame = list[Any]


def end(
    hello: Hello,
    *,
    dialed: bool,
    key: bytes = KEY,
    certificate: Certificate | None = None,
    nonce: int = 0,
) -> Introduction:
    filled = bytes([nonce or (1 if dialed else 2)]) * NONCE_BYTES
    return Introduction(lambda: hello, key, dialed=dialed, certificate=certificate, nonce=filled)


def sent(frame: list[object]) -> Frame:
    return list(frame)


def greeted(dialer: Introduction, acceptor: Introduction) -> Frame:
    """The dialer's hello with its proof, after both have greeted."""
    (answer,) = acceptor.take(sent(dialer.greet())).replies
    (hello,) = dialer.take(sent(answer)).replies
    return sent(hello)


def test_both_ends_believe_each_other() -> None:
    """After greeting, greeting, hello, hello."""
    dialer, acceptor = end(ME, dialed=True), end(OTHER, dialed=False)
    taken = acceptor.take(greeted(dialer, acceptor))
    assert taken.hello == ME
    assert dialer.take(sent(taken.replies[0])).hello == OTHER


def test_without_the_key_there_is_no_hello() -> None:
    """Neither of a dialer nor of an acceptor that has another one."""
    dialer, acceptor = end(ME, dialed=True, key=b"a guess"), end(OTHER, dialed=False)
    hello = greeted(dialer, acceptor)
    with pytest.raises(ValueError, match="does not have the secrets key"):
        acceptor.take(hello)
    dialer, acceptor = end(ME, dialed=True), end(OTHER, dialed=False, key=b"a guess")
    hello = greeted(dialer, acceptor)
    with pytest.raises(ValueError, match="does not have the secrets key"):
        dialer.take(["hello", hello[1], acceptor.proof_of(hello[1])])


def test_a_proof_that_is_sent_back_is_worthless() -> None:
    """An acceptor that repeats what the dialer said, nonce and all, proves nothing."""
    dialer = end(ME, dialed=True)
    greeting = sent(dialer.greet())
    (hello,) = dialer.take(greeting).replies
    with pytest.raises(ValueError, match="does not have the secrets key"):
        dialer.take(sent(hello))


def test_a_proof_of_another_connection_is_worthless() -> None:
    """The acceptor's nonce is in it."""
    first = greeted(end(ME, dialed=True), end(OTHER, dialed=False))
    acceptor = end(OTHER, dialed=False, nonce=9)
    acceptor.take(sent(end(ME, dialed=True).greet()))
    with pytest.raises(ValueError, match="does not have the secrets key"):
        acceptor.take(first)


def test_a_word_that_was_changed_is_noticed() -> None:
    """The proof covers every byte of the hello."""
    dialer, acceptor = end(ME, dialed=True), end(OTHER, dialed=False)
    _, body, proof = greeted(dialer, acceptor)
    with pytest.raises(ValueError, match="does not have the secrets key"):
        acceptor.take(["hello", body.replace(b"node-1", b"node-9"), proof])


@pytest.mark.parametrize("word", ["cluster_name", "name", "key_id"])
def test_a_hello_must_say_what_the_greeting_said(word: str) -> None:
    """The certificate and our key were compared with the greeting."""
    told = iter([ME, ME, replace(ME, **{word: "else"})])  # type: ignore[arg-type]
    dialer = Introduction(
        lambda: next(told), KEY, dialed=True, certificate=None, nonce=bytes(NONCE_BYTES)
    )
    acceptor = end(OTHER, dialed=False)
    (answer,) = acceptor.take(sent(dialer.greet())).replies
    (hello,) = dialer.take(sent(answer)).replies
    with pytest.raises(ValueError, match="its greeting said something else"):
        acceptor.take(sent(hello))


REFUSED: dict[str, tuple[Hello, Certificate | None, str]] = {
    "another cluster": (replace(ME, cluster_name="dev"), None, "belongs to cluster 'dev'"),
    "another key": (replace(ME, key_id="k9"), None, "its secrets key is k9, ours key"),
    "a certificate of another cluster": (ME, Certificate("dev", "node-1"), "of cluster 'dev'"),
    "a certificate of another node": (ME, Certificate("shop", "node-3"), "of node 'node-3'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_reaches_both_ends(name: str) -> None:
    """With the reason; and nobody says hello."""
    hello, certificate, reason = REFUSED[name]
    dialer = end(hello, dialed=True)
    acceptor = end(OTHER, dialed=False, certificate=certificate)
    taken = acceptor.take(sent(dialer.greet()))
    assert reason in taken.refusal
    greeting, refused = taken.replies
    told = dialer.take(sent(greeting))
    told = told if told.refusal else dialer.take(sent(refused))
    assert told.refusal
    assert told.hello is None


def test_only_another_key_of_the_same_cluster_is_called_so() -> None:
    """An empty node stops because of it."""
    host = replace(OTHER, cluster_id="c", lineage=((1, "r"),), key_id="k9")
    dialer = end(ME, dialed=True)
    taken = dialer.take(sent(end(host, dialed=False).greet()))
    assert taken.other_key is not None
    assert (taken.other_key.key_id, taken.other_key.has_cluster) == ("k9", True)
    stranger = replace(host, cluster_name="dev")
    assert end(ME, dialed=True).take(sent(end(stranger, dialed=False).greet())).other_key is None


WRONG: dict[str, Callable[[Frame], Frame]] = {
    "no map": lambda _: ["greet", 7],
    "a short nonce": lambda f: ["greet", f[1] | {"nonce": b"1"}],
    "a nonce that is text": lambda f: ["greet", f[1] | {"nonce": "x" * NONCE_BYTES}],
    "a long name": lambda f: ["greet", f[1] | {"name": "n" * 200}],
    "a truth that is none": lambda f: ["greet", f[1] | {"has_cluster": 1}],
    "too long": lambda f: [*f, 1],
    "a hello": lambda _: ["hello", b"", b""],
    "a refusal of nobody": lambda _: ["refused", "send me your keys"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_greeting_is_refused(name: str) -> None:
    """Whatever a stranger says first."""
    with pytest.raises(ValueError, match=r"greeting|protocol"):
        end(OTHER, dialed=False).take(WRONG[name](sent(end(ME, dialed=True).greet())))


def test_words_of_others_cannot_write_into_our_log() -> None:
    """Line breaks and the like are gone, and the text is bounded."""
    dialer = end(ME, dialed=True)
    taken = dialer.take(["refused", "no\n2026-01-01 CRITICAL all is lost" + "x" * 1000])
    assert "\n" not in taken.refusal
    assert len(taken.refusal) < 400


def test_the_key_of_the_frames_is_no_proof() -> None:
    """Both ends have it, it is another one on each connection, and nobody ever sends it."""
    keys = []
    for nonce in (7, 8):
        dialer, acceptor = end(ME, dialed=True), end(OTHER, dialed=False, nonce=nonce)
        greeted(dialer, acceptor)
        keys += [dialer.frame_key(OTHER), acceptor.frame_key(ME)]
        assert keys[-1] not in (None, dialer.proof_of(b""), acceptor.proof_of(b""))
    assert keys[0] == keys[1] and keys[2] == keys[3] and keys[0] != keys[2]
