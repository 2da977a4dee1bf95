"""Sealed values and the keyring: what opens what, and which error says why not."""

from __future__ import annotations

import pickle

import pytest

from heroctl_core.codec import pack, unpack
from heroctl_core.crypto.keys import BackupKey
from heroctl_core.crypto.sealed import Keyring, wrapped_key_id
from heroctl_core.errors import Damaged, NoKey, WrongKey

KEY, OTHER = BackupKey(bytes(range(32)), source="a.key"), BackupKey(bytes(32), source="b.key")


def flips(data: bytes) -> list[bytes]:
    """Every byte with one other bit."""
    return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]


@pytest.mark.parametrize("value", [b"", b"x", b"\0" * 100_000])
def test_a_sealed_value_opens(value: bytes) -> None:
    """Under its own name, and the cipher text differs each time."""
    keyring = Keyring.create()
    sealed = keyring.seal("db-password", value)
    assert keyring.open("db-password", sealed) == value
    assert keyring.seal("db-password", value) != sealed


def test_a_sealed_value_belongs_to_its_name() -> None:
    """Somebody who can write rows cannot move a value to a name that they may read."""
    keyring = Keyring.create()
    sealed = keyring.seal("db-password", b"secret")
    for name in ("mine", "db-passwor", "db-passwordx", ""):
        with pytest.raises(Damaged, match="tag mismatch"):
            keyring.open(name, sealed)


def test_every_flipped_byte_of_a_sealed_value() -> None:
    """A change of the key id is a key that is missing; any other is damage."""
    keyring = Keyring.create()
    sealed = keyring.seal("a", b"secret")
    for at, changed in enumerate(flips(sealed)):
        with pytest.raises(WrongKey if 1 <= at < 9 else Damaged):
            keyring.open("a", changed)
    for end in range(len(sealed)):
        with pytest.raises(Damaged):
            keyring.open("a", sealed[:end])


def test_a_value_of_another_keyring() -> None:
    """The message names the data key that is missing."""
    one, two = Keyring.create(), Keyring.create()
    with pytest.raises(WrongKey, match=one.active.hex()):
        two.open("a", one.seal("a", b"secret"))


def with_another_key(old: Keyring) -> Keyring:
    """The keyring with one more data key, which seals from now on."""
    new = Keyring.create()
    version, keyring_id, _, items = unpack(old.export())
    return Keyring.load(pack([version, keyring_id, new.active, [*items, *unpack(new.export())[3]]]))


def test_a_keyring_of_several_keys_opens_what_each_sealed() -> None:
    """The active one seals."""
    before = Keyring.create()
    old = before.seal("a", b"old")
    after = with_another_key(before)
    assert after.open("a", old) == b"old"
    assert after.keyring_id == before.keyring_id
    with pytest.raises(WrongKey):
        before.open("a", after.seal("a", b"new"))


def test_the_export_is_the_keyring() -> None:
    """What an archive carries gives the same keyring back."""
    keyring = with_another_key(Keyring.create())
    assert Keyring.load(keyring.export()) == keyring


def test_the_wrapped_keyring_opens_by_its_key() -> None:
    """Any of several keys may be the one; its id can be told before."""
    keyring = Keyring.create()
    wrapped = keyring.wrap(KEY)
    assert Keyring.unwrap(wrapped, [OTHER, KEY]) == keyring
    assert wrapped_key_id(wrapped) == KEY.key_id
    assert keyring.wrap(KEY) != wrapped


def test_wrong_key_and_damage_are_told_apart() -> None:
    """Another key is WrongKey and names both sides, no key is NoKey, a change is Damaged."""
    wrapped = Keyring.create().wrap(KEY)
    with pytest.raises(WrongKey, match=rf"{KEY.key_id}.*{OTHER.key_id} \(b\.key\)"):
        Keyring.unwrap(wrapped, [OTHER])
    with pytest.raises(NoKey, match=KEY.key_id):
        Keyring.unwrap(wrapped, [])
    for at, changed in enumerate(flips(wrapped)):
        with pytest.raises(WrongKey if 1 <= at < 9 else Damaged):
            Keyring.unwrap(changed, [KEY])
    for end in range(len(wrapped)):
        with pytest.raises(Damaged):
            Keyring.unwrap(wrapped[:end], [KEY])


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: [2, *tree[1:]],
        lambda tree: tree[:3],
        lambda tree: [tree[0], b"short", *tree[2:]],
        lambda tree: [*tree[:2], b"another!", tree[3]],
        lambda tree: [*tree[:2], [], tree[3]],
        lambda tree: [*tree[:3], []],
        lambda tree: [*tree[:3], tree[3] * 2],
        lambda tree: [*tree[:3], [[tree[3][0][0], b"x" * 31]]],
        lambda tree: [*tree[:3], [[tree[3][0][0], b"x" * 32]]],
        lambda tree: [*tree[:3], 7],
        lambda tree: {},
        lambda tree: None,
    ],
)
def test_what_is_no_keyring_is_damaged(edit: object) -> None:
    """An export with one thing wrong cannot be loaded."""
    tree = unpack(Keyring.create().export())
    with pytest.raises(Damaged):
        Keyring.load(pack(edit(tree)))  # type: ignore[operator]


def test_bytes_that_are_no_msgpack_are_damaged() -> None:
    """Also those."""
    for data in (b"", b"\xc1", b"\x94"):
        with pytest.raises(Damaged):
            Keyring.load(data)


def test_a_keyring_is_not_shown() -> None:
    """Its keys are in no text and no pickle."""
    keyring = Keyring.create()
    key = unpack(keyring.export())[3][0][1]
    assert key.hex() not in repr(keyring)
    assert repr(key) not in repr(keyring)
    with pytest.raises(TypeError):
        pickle.dumps(keyring)
