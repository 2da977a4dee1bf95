"""The frames of one connection: what arrives is what was sent, in that order and direction."""

from __future__ import annotations

import pytest

from heroctl_core.crypto.frame_cipher import FrameCipher

KEY = b"k" * 32


def ends(other_key: bytes = KEY) -> tuple[FrameCipher, FrameCipher]:
    return FrameCipher(KEY, dialed=True), FrameCipher(other_key, dialed=False)


def test_both_directions() -> None:
    """Equal frames look different each time."""
    one, two = ends()
    sealed = [one.seal(b"body", b"head") for _ in range(3)] + [two.seal(b"body", b"head")]
    assert len(set(sealed)) == 4
    assert [two.open(each, b"head") for each in sealed[:3]] == [b"body"] * 3
    assert one.open(sealed[3], b"head") == b"body"


@pytest.mark.parametrize("what", ["left out", "sent back", "other head", "other key", "flipped"])
def test_what_was_not_sealed_for_this_place(what: str) -> None:
    """It is refused, whatever was done to it."""
    one, two = ends(b"o" * 32 if what == "other key" else KEY)
    first, second = one.seal(b"body", b"head"), one.seal(b"body", b"head")
    with pytest.raises(ValueError, match="did not seal"):
        if what == "left out":
            two.open(second, b"head")
        elif what == "sent back":
            one.open(first, b"head")
        else:
            data = bytes([first[0] ^ 1]) + first[1:] if what == "flipped" else first
            two.open(data, b"other" if what == "other head" else b"head")
