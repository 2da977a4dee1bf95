"""snapshot save, inspect and verify against a served node; keys; the literal lines of the guide."""

from __future__ import annotations

import json
import re
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heroctl_cli.commands import snapshot
from heroctl_core.client import Received
from heroctl_core.errors import Damaged
from heroctl_core.snapshot.archive import open_archive
from heroctl_core.testing.memory_node import KEY, ServedNode

THREE_LINES = re.compile(
    r"snapshot saved: \d+\.\d (B|kB|MB|GB)\n"
    r"included: (\d+) jobs, (\d+) secrets, (\d+) acl rules, (\d+) nodes\n"
    r"duration: \d+\.\ds\n"
)


@pytest.fixture
def filled(served: ServedNode) -> ServedNode:
    """Two jobs, a secret, three rules, one node."""
    for name in ("web", "api"):
        served.node.jobs.put(name, {"image": name})
    served.node.secrets.put("db", b"hunter2")
    rule = {"resource": "job", "name": "*", "actions": ["read"]}
    served.node.acl.put_policy("a", [rule])
    served.node.acl.put_policy("b", [rule, rule])
    served.node.nodes.put("n1", address="10.0.0.1")
    return served


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key of the served node's archives."""
    path = tmp_path / "backup.key"
    path.write_bytes(b64encode(bytes(range(32))) + b"\n")
    path.chmod(0o600)
    return path


def test_save_prints_the_three_lines_of_the_guide(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """Literally; rules are those of all policies. The file is private and whole."""
    path = tmp_path / "snap.tar.gz"
    done = cli("snapshot", "save", path)
    assert done.code == 0 and done.err == ""
    found = THREE_LINES.fullmatch(done.out)
    assert found and found.groups()[1:] == ("2", "1", "3", "1"), done.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_archive(path, [KEY]) as archive:
        archive.verify()
    assert [p.name for p in tmp_path.glob("snap*")] == ["snap.tar.gz"]


def test_save_needs_no_key_and_tells_exact_numbers_in_json(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """Sizes exact, keys stable."""
    path = tmp_path / "snap.tar.gz"
    told = json.loads(cli("snapshot", "save", path, "-o", "json").out)
    assert told["size_bytes"] == path.stat().st_size
    assert told["counts"] == {"jobs": 2, "secrets": 1, "acl_rules": 3, "nodes": 1}
    assert (told["file"], told["stale"]) == (str(path), False)
    assert set(told) == {
        "file", "size_bytes", "sha256", "revision", "stale", "counts", "duration_s",
    }  # fmt: skip


def test_an_existing_file_stays_unless_told(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """--overwrite says so."""
    path = tmp_path / "snap.tar.gz"
    path.write_text("mine")
    done = cli("snapshot", "save", path)
    assert done.code == 2 and "--overwrite" in done.err and path.read_text() == "mine"
    assert cli("snapshot", "save", path, "--overwrite").code == 0
    assert path.read_bytes()[:2] == b"\x1f\x8b"


def test_a_folder_that_is_not_there_leaves_nothing(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """The message names the file."""
    done = cli("snapshot", "save", tmp_path / "none" / "snap.tar.gz")
    assert done.code == 1 and "none/snap.tar.gz" in done.err
    assert not (tmp_path / "none").exists()


def test_save_to_stdout_writes_the_archive_and_nothing_else(
    filled: ServedNode, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A pipe gets the verified bytes; the summary goes to stderr."""
    from heroctl_cli.main import run

    assert run(["snapshot", "save", "-"]) == 0
    captured = capfdbinary.readouterr()
    path = tmp_path / "piped"
    path.write_bytes(captured.out)
    with open_archive(path, [KEY]) as archive:
        archive.verify()
    assert captured.err.startswith(b"snapshot saved: ")


def test_without_a_quorum_a_snapshot_is_saved_with_a_warning(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """Exit 0: it may be the last copy; stderr says what may be missing."""
    filled.node.replicator.go_read_only()
    done = cli("snapshot", "save", tmp_path / "s")
    assert done.code == 0 and "no quorum" in done.err and THREE_LINES.fullmatch(done.out)
    assert json.loads(cli("snapshot", "inspect", tmp_path / "s", "-o", "json").out)["stale"] is True


def test_another_file_than_the_node_sent_is_refused(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """Whole, but not the bytes whose digest came with them: the disk here has put in others."""
    path = tmp_path / "s"
    told = json.loads(cli("snapshot", "save", path, "-o", "json").out)
    with path.open("rb") as file:
        snapshot._check(Received(told["size_bytes"], told["sha256"], {}), file.fileno())
        with pytest.raises(Damaged, match="the node sent 0000"):
            snapshot._check(Received(told["size_bytes"], "00" * 32, {}), file.fileno())


def test_inspect_needs_no_key(cli: Callable[..., Any], filled: ServedNode, tmp_path: Path) -> None:
    """Cluster, revision, time, key id and counts."""
    path = tmp_path / "s"
    cli("snapshot", "save", path)
    told = json.loads(cli("snapshot", "inspect", path, "-o", "json").out)
    assert (told["cluster"], told["encrypted"], told["key_ids"]) == ("memory", True, [KEY.key_id])
    assert told["sections"]["jobs"] == 2
    none = cli("snapshot", "inspect", tmp_path / "none")
    assert none.code == 2 and f"{tmp_path / 'none'}: no such file or directory" in none.err
    shown = cli("snapshot", "inspect", path).out
    assert KEY.key_id in shown and re.search(r"^jobs +2$", shown, re.M)


def test_verify_reads_everything_with_the_key(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path, key_file: Path
) -> None:
    """By flag or environment; a wrong or missing key is exit code 8, told apart from damage."""
    path = tmp_path / "s"
    cli("snapshot", "save", path)
    assert cli("snapshot", "verify", path, "--key-file", key_file).code == 0
    assert cli("snapshot", "verify", path).code == 8
    other = tmp_path / "other.key"
    assert cli("key", "generate", other).code == 0
    wrong = cli("snapshot", "verify", path, "--key-file", other)
    assert wrong.code == 8 and KEY.key_id in wrong.err
    both = cli("snapshot", "verify", path, "--key-file", other, "--key-file", key_file)
    assert both.code == 0 and "records" in both.out


def test_an_archive_from_a_pipe_is_looked_into_and_verified(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path, key_file: Path
) -> None:
    """`-` is stdin: the same answer as for the file, and a damaged or cut stream is exit code 7."""
    path = tmp_path / "s"
    cli("snapshot", "save", path)
    content = path.read_bytes()
    inspect, verify = (
        ("snapshot", "inspect", "-"),
        ("snapshot", "verify", "-", "--key-file", key_file),
    )
    told = json.loads(cli(*inspect, "-o", "json", stdin=content).out)
    assert told == json.loads(cli("snapshot", "inspect", path, "-o", "json").out)
    done = cli(*verify, stdin=content)
    assert done.code == 0 and done.out.startswith("stdin: ok, "), done.err
    damaged = bytearray(content)
    damaged[600] ^= 1
    for stream in (b"", bytes(damaged), content[:-600], content + b"x"):
        assert cli(*inspect, stdin=stream).code == cli(*verify, stdin=stream).code == 7


@pytest.mark.parametrize("position", [20, 600, -700, -2000])
def test_a_changed_byte_is_exit_code_7(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path, key_file: Path, position: int
) -> None:
    """Anywhere in the file; the message names file and place."""
    path = tmp_path / "s"
    cli("snapshot", "save", path)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    done = cli("snapshot", "verify", path, "--key-file", key_file)
    assert done.code == 7 and str(path) in done.err
    path.write_bytes(content[: len(content) // 2])
    assert cli("snapshot", "inspect", path).code == 7
    path.write_text("no archive at all")
    assert cli("snapshot", "inspect", path).code == 7


def test_an_archive_without_encryption_needs_the_word_twice(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path
) -> None:
    """On writing and on reading."""
    path = tmp_path / "s"
    assert cli("snapshot", "save", path, "--unencrypted").code == 0
    assert cli("snapshot", "verify", path).code == 8
    assert cli("snapshot", "verify", path, "--unencrypted").code == 0


def test_a_broken_transfer_leaves_the_old_file(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not have the node's digest is thrown away: exit code 7."""
    from heroctl_core.server import wire

    path = tmp_path / "s"
    cli("snapshot", "save", path)
    before = path.read_bytes()
    monkeypatch.setattr(wire, "repr_digest", lambda _: "sha-256=:AAAA:")
    done = cli("snapshot", "save", path, "--overwrite")
    assert done.code == 7 and "digest" in done.err
    assert path.read_bytes() == before and not path.with_name("s.partial").exists()


def test_a_key_is_made_once_and_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    """Mode 600, never in place of another; `id` prints what archives show; no key is printed."""
    path = tmp_path / "k"
    made = cli("key", "generate", path)
    assert made.code == 0 and "keep a copy" in made.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = cli("key", "id", path).out.strip()
    assert re.fullmatch(r"[0-9a-f]{16}", shown) and shown in made.out
    assert path.read_text().strip() not in made.out + made.err
    before = path.read_bytes()
    assert cli("key", "generate", path).code == 2 and path.read_bytes() == before
    path.chmod(0o644)
    refused = cli("key", "id", path)
    assert refused.code == 8 and "chmod 600" in refused.err
    assert cli("key", "id", tmp_path / "none").code == 8


@pytest.mark.parametrize("name", ["CURRENT", "lock", "generations/1-r/log/1", "link"])
def test_save_never_writes_among_the_files_of_a_node(
    cli: Callable[..., Any], filled: ServedNode, tmp_path: Path, name: str
) -> None:
    """Nor through a link, also when the node that saves is another one; backups/ is for it."""
    folder = tmp_path / "other-node"
    (folder / "generations/1-r/log").mkdir(parents=True)
    (folder / "backups").mkdir()
    (folder / "node.json").write_text("{}")
    target = folder / name
    if name == "link":
        target = tmp_path / "link" / "CURRENT"
        target.parent.symlink_to(folder)
    target.write_text("as it was")
    done = cli("snapshot", "save", target, "--overwrite")
    assert done.code == 2 and "among the node's own files" in done.err
    assert target.read_text() == "as it was"
    assert cli("snapshot", "save", folder / "backups" / "now.tar.gz").code == 0
