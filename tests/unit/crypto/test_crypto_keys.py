"""The backup key: read from a private file only, never shown."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import pickle
import stat
import subprocess
from pathlib import Path

import pytest

from heroctl_core.crypto.keys import (
    BackupKey,
    Unwrap,
    credential_path,
    generate_key_file,
    load_key_file,
)
from heroctl_core.errors import NoKey, UsageError
from heroctl_core.files import write_atomic

RAW = bytes(range(32))
TEXT = base64.b64encode(RAW)


def key_file(folder: Path, text: bytes, mode: int = 0o600) -> Path:
    write_atomic(folder / "backup.key", text, mode=mode)
    return folder / "backup.key"


def test_the_key_of_openssl_is_read(tmp_path: Path) -> None:
    """The guide's command makes a file that we read."""
    text = subprocess.check_output(["openssl", "rand", "-base64", "32"])
    key = load_key_file(key_file(tmp_path, text), {})
    assert key == BackupKey(base64.b64decode(text))


@pytest.mark.parametrize("text", [TEXT, TEXT + b"\n", TEXT + b"\r\n", b"  " + TEXT + b" \n\n"])
def test_white_space_around_the_key_does_not_matter(tmp_path: Path, text: bytes) -> None:
    """Editors and other systems add some."""
    assert load_key_file(key_file(tmp_path, text), {}) == BackupKey(RAW)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (base64.b64encode(RAW[:31]), "holds 31 bytes"),
        (base64.b64encode(RAW + b"x"), "holds 33 bytes"),
        (RAW, "not base64"),
        (RAW.hex().encode(), "holds 48 bytes"),
        (b"not a key at all!", "not base64"),
        (TEXT[:20] + b"\n" + TEXT[20:], "not base64"),
        (TEXT * 200, "more than 4096 bytes"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    """The message says what is wrong with the file and shows nothing that is in it."""
    path = key_file(tmp_path, text)
    with pytest.raises(NoKey, match=words) as caught:
        load_key_file(path, {})
    assert str(path) in caught.value.message
    shown = caught.value.message + str(caught.value.hint)
    assert len(text) < 5 or text.decode("latin-1")[:10] not in shown


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The message names the mode, the hint the command that mends it; exit code 8."""
    path = key_file(tmp_path, TEXT, mode=0o640)
    with pytest.raises(NoKey, match="0640") as caught:
        load_key_file(path, {})
    assert caught.value.hint == f"chmod 600 {path}"
    assert caught.value.exit_code == 8


def test_a_missing_key_file(tmp_path: Path) -> None:
    """It is NoKey, names the path and says how to make one."""
    with pytest.raises(NoKey, match=r"backup\.key: no such file") as caught:
        load_key_file(tmp_path / "backup.key", {})
    assert caught.value.hint == f"make one with: heroctl key generate {tmp_path}/backup.key"


def test_a_credential_of_systemd_wins(tmp_path: Path) -> None:
    """A file of the same base name in systemd's folder is taken, with the mode systemd gives."""
    other = BackupKey(bytes(32))
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    path = key_file(tmp_path, TEXT)
    assert load_key_file(path, environ) == BackupKey(RAW)
    key_file(credentials, base64.b64encode(bytes(32)), mode=0o440)
    assert credential_path(path, environ) == credentials / "backup.key"
    assert load_key_file(path, environ) == other
    assert load_key_file(tmp_path / "gone" / "backup.key", environ) == other


def test_a_generated_key_is_new_and_private(tmp_path: Path) -> None:
    """Two keys differ, the file has mode 0600, and what is read is what was given back."""
    one, two = generate_key_file(tmp_path / "one"), generate_key_file(tmp_path / "two")
    assert one != two
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert load_key_file(tmp_path / "one", {}) == one


def test_an_existing_key_is_never_replaced(tmp_path: Path) -> None:
    """A lost key is a lost backup."""
    path = key_file(tmp_path, TEXT)
    with pytest.raises(UsageError, match="exists already") as caught:
        generate_key_file(path)
    assert "never replaced" in str(caught.value.hint)
    assert load_key_file(path, {}) == BackupKey(RAW)


def test_the_key_id() -> None:
    """It is what the format document says."""
    expected = hmac.new(RAW, b"heroctl key id", hashlib.sha256).hexdigest()[:16]
    assert BackupKey(RAW).key_id == expected


def test_a_key_is_not_shown_copied_or_changed() -> None:
    """Neither text nor pickle nor copy has its bytes, and it cannot be exchanged."""
    key = BackupKey(RAW, source="backup.key")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert shown.strip("[]") == f"BackupKey({key.key_id})"
    for write_down in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled"):
            write_down(key)
    with pytest.raises(AttributeError):
        key.key_id = "0" * 16
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    """No other length can be made."""
    with pytest.raises(ValueError, match=f"not {size}"):
        BackupKey(bytes(size))


def test_wrapping_is_rfc_3394() -> None:
    """The vector of section 4.6 of the RFC."""
    wrapped = bytes.fromhex(
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
    )
    secret = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    assert BackupKey(RAW).wrap(secret) == wrapped
    assert BackupKey(RAW).unwrap(wrapped) == secret


def test_unwrapping_fails_for_every_flipped_bit_and_other_key() -> None:
    """Nothing that was not wrapped by this key comes out."""
    wrapped = BackupKey(RAW).wrap(bytes(32))
    for bit in range(len(wrapped) * 8):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unwrap):
            BackupKey(RAW).unwrap(bytes(changed))
    right, other = BackupKey(RAW), BackupKey(bytes(32))
    for data, key in ((wrapped, other), (wrapped[:-8], right), (b"", right)):
        with pytest.raises(Unwrap):
            key.unwrap(data)
