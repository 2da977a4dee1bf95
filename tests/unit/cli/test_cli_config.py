"""config check and show: what the file says, with secrets hidden."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = """\
cluster: {name: prod}
raft:
  listen: 127.0.0.1:7501
backup:
  storage: {type: s3, bucket: abc, secret_access_key: hush-hush}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a secret in it."""
    path = tmp_path / "server.yaml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def test_check_says_ok_or_every_mistake(cli: Callable[..., Any], config: Path) -> None:
    """Exit 0 or 2; file, line, column and key of each mistake."""
    done = cli("config", "check", "--config", config)
    assert (done.code, done.out) == (0, f"{config}: ok\n")
    config.write_text(TEXT.replace("prod", "a b").replace("7501", "x"))
    done = cli("config", "check", "--config", config)
    assert done.code == 2 and done.out == ""
    assert f"{config}:1:17: cluster.name" in done.err and f"{config}:3:11: raft.listen" in done.err
    missing = cli("config", "check", "--config", config.with_name("none"))
    assert missing.code == 2 and "no such file" in missing.err


@pytest.mark.parametrize(
    "block", ["backup: {encryption_key_file: KEY}", "secrets: {key_file: KEY}"]
)
def test_check_reads_the_key_files(cli: Callable[..., Any], tmp_path: Path, block: str) -> None:
    """A key file that a server could not use is told here, with the server's exit code."""
    key, config = tmp_path / "a.key", tmp_path / "server.yaml"
    config.write_text(block.replace("KEY", str(key)))
    check = ("config", "check", "--config", config)
    done = cli(*check)
    assert done.code == 8 and f"key file {key}: no such file" in done.err
    assert "heroctl key generate" in done.err
    os.mkfifo(key, 0o600)
    done = cli(*check)
    assert done.code == 8 and f"key file {key} is not a regular file" in done.err
    key.unlink()
    key.touch(0o600)
    done = cli(*check)
    assert done.code == 8 and f"key file {key} is empty" in done.err
    key.unlink()
    assert cli("key", "generate", key).code == 0
    done = cli(*check)
    assert done.code == 0 and "ok" in done.out, done.err


def test_check_reads_the_tls_files(cli: Callable[..., Any], tmp_path: Path) -> None:
    """As a server does: what that would end with is told here."""
    config = tmp_path / "server.yaml"
    files = {name: tmp_path / name for name in ("ca.crt", "a.crt", "a.key")}
    ca, cert, key = files.values()
    config.write_text(
        f"cluster: {{name: prod}}\nnode: {{name: a}}\n"
        f"tls: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}\n"
    )
    check = ("config", "check", "--config", config)
    done = cli(*check)
    assert done.code == 2 and f"tls.ca_file {ca}: no such file" in done.err
    assert cli("tls", "init", "--cluster", "prod", "--out", tmp_path).code == 0
    for node in "ab":
        assert cli("tls", "issue", "--node", node, "--ca", tmp_path).code == 0
    done = cli(*check)
    assert (done.code, done.out) == (0, f"{config}: ok\n"), done.err
    (tmp_path / "b.key").replace(key)
    done = cli(*check)
    assert done.code == 2
    assert f"tls.key_file {key} is not the key of tls.cert_file {cert}" in done.err


def test_show_has_the_defaults_and_hides_secrets(
    cli: Callable[..., Any], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by HEROCTL_CONFIG; --origin says where each value comes from."""
    monkeypatch.setenv("HEROCTL_CONFIG", str(config))
    for words in ([], ["-o", "json"], ["--origin"]):
        done = cli("config", "show", *words)
        assert done.code == 0 and "hush-hush" not in done.out + done.err
    shown = json.loads(cli("config", "show", "-o", "json").out)
    assert shown["raft"]["election_timeout_ms"] == 1000
    origins = json.loads(cli("config", "show", "--origin", "-o", "json").out)
    by_key = {row["key"]: row["origin"] for row in origins}
    assert by_key["raft.listen"] == f"{config}:3"
    assert by_key["api.listen"] == "default"
    assert by_key["backup.storage[0].bucket"] == f"{config}:5"
