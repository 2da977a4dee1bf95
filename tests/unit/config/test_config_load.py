"""server.yaml becomes a Config, or one error that lists every mistake with its place."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from heroctl_core.config import load, model, schema
from heroctl_core.errors import ConfigError

GUIDE = """\
backup:
  enabled: true
  schedule: "0 3 * * *" # 3h da manhã, todo dia
  retention_days: 30
  storage:
    type: s3
    bucket: heroctl-backups
    region: us-east-2
    prefix: cluster-prod/
    access_key_id: AKIA...
    secret_access_key: <em segredo>
  encryption_key_file: /etc/heroctl/backup.key
  test_restore:
    enabled: true
    schedule: "0 4 1 * *" # dia 1 de cada mês, 4h
    target: staging-cluster
"""


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "server.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def mistakes(folder: Path, text: str, mode: int = 0o600) -> list[str]:
    """The lines of the error, without the folder's name."""
    path = write(folder, text, mode)
    with pytest.raises(ConfigError) as caught:
        load.load(path)
    lines = str(caught.value).split("\n")
    assert all(re.match(rf"{re.escape(str(path))}:\d+:\d+: ", line) for line in lines), lines
    return [line.removeprefix(f"{folder}/server.yaml:") for line in lines]


def test_the_guides_block_loads_as_it_is_printed(tmp_path: Path) -> None:
    """Keys, nesting and values of the guide are literal."""
    backup = load.load(write(tmp_path, GUIDE)).backup
    assert (backup.enabled, backup.schedule, backup.retention_days) == (True, "0 3 * * *", 30)
    (storage,) = backup.storage
    assert (storage.type, storage.bucket, storage.region, storage.prefix) == (
        "s3", "heroctl-backups", "us-east-2", "cluster-prod/",
    )  # fmt: skip
    assert (storage.name, storage.access_key_id) == ("s3-1", "AKIA...")
    assert storage.secret_access_key == model.Secret("<em segredo>")
    assert backup.encryption_key_file == (Path("/etc/heroctl/backup.key"),)
    assert backup.test_restore == model.RestoreTest(
        enabled=True, schedule="0 4 1 * *", target="staging-cluster"
    )


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """Nothing is required; ports, folder and timeouts are the documented ones."""
    config = load.load(write(tmp_path, "# nothing yet\n"))
    assert config.raft == model.Raft()
    assert (config.api.listen, config.raft.listen) == ("127.0.0.1:7100", "127.0.0.1:7101")
    assert config.node.data_dir == Path("/var/lib/heroctl")
    assert config.expected_voters == 1


def test_every_mistake_is_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One run of `config check` shows all that has to be mended."""
    lines = mistakes(
        tmp_path,
        "cluster: {name: prod, bootstrap_exepct: 3}\n"
        "raft: {listen: 7101, election_timeout_ms: 99}\n"
        "backup: {schedule: '0 3 * *', retention_days: 0}\n",
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["1:23", "cluster.bootstrap_exepct"],
        ["2:16", "raft.listen"],
        ["2:43", "raft.election_timeout_ms"],
        ["3:20", "backup.schedule"],
        ["3:47", "backup.retention_days"],
    ]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("bakup: {}", "1:1", "unknown key; did you mean backup?; allowed: cluster, node,"),
        ("node:\n  nmae: a", "2:3", "did you mean name?; allowed: name, data_dir"),
        ("node: {name: NO}", "1:14", 'write false, or quote this, as in "NO"'),
        ("node: {name: 2026-01-01}", "1:14", "reads it as a date: quote this"),
        ("node: {name: 12}", "1:14", "is 12; allowed: text: quote this"),
        ("node: {name: a b}", "1:14", "is no name; allowed: 1 to 63 letters"),
        ("node: {name: a, name: b}", "1:17", "duplicate key, first in line 1"),
        ("node: {data_dir: state}", "1:18", "is no absolute path; allowed: a path from /"),
        ("node: 3", "1:7", "is 3; allowed: a mapping"),
        ("backup: {enabled: yes}", "1:19", "write true, or quote this"),
        ("backup: {enabled: 'true'}", "1:19", "allowed: true or false, without quotes"),
        ("backup: {retention_days: '30'}", "1:26", "allowed: a whole number, without quotes"),
        ("backup: {timezone: Mars/One}", "1:20", "is no time zone; allowed: as in UTC"),
        ("backup: {schedule: 0 3 31 2 *}", "1:20", "never fires"),
        ("backup: {schedule: H 3 * * *}", "1:20", "random or hashed field"),
        ("backup: {schedule: 61 3 * * *}", "1:20", "is no cron line"),
        ("backup: {storage: {type: ftp}}", "1:26", "is 'ftp'; allowed: 's3' or 'directory'"),
        ("backup: {storage: {type: s3}}", "1:19", "a storage of type s3 needs the key bucket"),
        ("backup: {storage: [{type: directory}]}", "1:20", "needs the key path"),
        ("backup: {storage: {type: s3, bucket: abc, regoin: x}}", "1:43", "did you mean region?"),
        ("raft: {peers: {a: '127.0.0.1'}}", "1:19", "is no address; allowed: HOST:PORT"),
        ("raft: {peers: {a: ':1', 'b c': '127.0.0.1:2'}}", "1:19", "is no address"),
        ("raft: {election_timeout_ms: 60001}", "1:29", "is 60001; allowed: 60000 or less"),
        ("api: {listen: '127.0.0.1:0'}", "1:15", "is no address"),
        ("api: {listen: '127.0.0.1:65536'}", "1:15", "is no address"),
        ("node: &a {name: x}", "1:7", "anchors and aliases are not supported"),
        ("node: {name: !!python/name:os.system x}", "1:14", "has the tag"),
        ("a: [", "1:5", "expected the node content"),
        ("---\n{}\n---\nnode: {}", "4:1", "a second document; allowed: one"),
        ("- a", "1:1", "must be a mapping of cluster, node"),
    ],
)
def test_a_mistake_names_its_place_and_what_is_allowed(
    tmp_path: Path, text: str, place: str, said: str
) -> None:
    """file:line:column, the key, what is wrong, and the way out."""
    line = mistakes(tmp_path, text)[0]
    assert line.startswith(f"{place}: ") and said in line, line


@pytest.mark.parametrize("key", ["raft", "api"])
@pytest.mark.parametrize(
    "address", ["0.0.0.0:7500", "10.0.0.1:7500", "[::]:7500", "example.org:7500"]
)
def test_a_listener_beyond_loopback_is_refused(tmp_path: Path, key: str, address: str) -> None:
    """Without TLS nobody else may reach a listener; the message says that."""
    (line,) = mistakes(tmp_path, f"{key}: {{listen: '{address}'}}")
    assert f"{key}.listen" in line and "needs TLS" in line
    with pytest.raises(ConfigError, match="needs TLS"):
        model.Config(**{key: {"raft": model.Raft, "api": model.Api}[key](listen=address)})


@pytest.mark.parametrize(
    "address", ["127.0.0.1:7500", "[::1]:7500", "localhost:7500", "127.9.9.9:1"]
)
def test_loopback_listeners_are_allowed(tmp_path: Path, address: str) -> None:
    """All of 127/8, ::1 and localhost."""
    assert load.load(write(tmp_path, f"raft: {{listen: '{address}'}}")).raft.listen == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster: {bootstrap_expect: 3}\nraft: {peers: {b: '127.0.0.1:2'}}", "1:29: cluster.boot"),
        ("raft: {peers: {b: '127.0.0.1:2', c: '127.0.0.1:2'}}", "address of two nodes"),
        ("api: {listen: '127.0.0.1:7101'}", "1:15: api.listen: 127.0.0.1:7101 is the address of"),
        ("node: {name: a}\nraft: {advertise: '127.0.0.1:9', peers: {a: '127.0.0.1:8'}}", "a is at"),
    ],
)
def test_values_that_do_not_go_together_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Each value alone is fine; the combination can never work."""
    (line,) = mistakes(tmp_path, text)
    assert said in line, line


def test_the_same_list_of_peers_serves_every_node(tmp_path: Path) -> None:
    """The own entry becomes the advertised address and is no peer."""
    peers = "raft: {listen: '127.0.0.1:2', peers: {a: '127.0.0.1:1', b: '127.0.0.1:2'}}"
    config = load.load(write(tmp_path, f"node: {{name: b}}\n{peers}"))
    assert config.raft.advertised == "127.0.0.1:2"
    assert config.raft.peers == {"a": "127.0.0.1:1"}
    assert config.expected_voters == 2


def test_the_environment_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """${NAME} stands for the variable, also inside a text; a missing one is a mistake."""
    monkeypatch.setenv("HERO_TEST", "left")
    monkeypatch.delenv("HERO_NONE", raising=False)
    config = load.load(write(tmp_path, "cluster: {name: 'x-${HERO_TEST}'}"))
    assert config.cluster.name == "x-left"
    (line,) = mistakes(tmp_path, "cluster: {name: '${HERO_NONE}'}")
    assert "has no variable 'HERO_NONE'" in line


S3 = "backup: {{storage: {{type: s3, bucket: abc, secret_access_key: {} }}}}"


def test_an_inline_secret_in_a_file_that_others_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fine in a private file, and from the environment in any file."""
    monkeypatch.setenv("HERO_TEST", "s3cret")
    (line,) = mistakes(tmp_path, S3.format("hush-hush"), mode=0o604)
    assert "others can read this file" in line and "hush-hush" not in line
    assert load.load(write(tmp_path, S3.format("hush-hush"), 0o640))
    assert load.load(write(tmp_path, S3.format("'${HERO_TEST}'"), 0o644))


@pytest.mark.parametrize("value", ["0777", "12345678", "NO", "[hunter2]"])
def test_a_secret_never_shows_in_a_mistake(tmp_path: Path, value: str) -> None:
    """Also when it is the secret itself that is wrong."""
    lines = mistakes(tmp_path, S3.format(value))
    assert not any(value in line or "hunter2" in line for line in lines), lines


def test_a_secret_never_shows_in_a_repr(tmp_path: Path) -> None:
    """A configuration may be logged."""
    config = load.load(write(tmp_path, S3.format("hush-hush")))
    assert "hush-hush" not in repr(config)
    assert config.backup.storage[0].secret_access_key == model.Secret("hush-hush")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_file_that_others_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The line of the key is named, and the way out."""
    key = tmp_path / "backup.key"
    key.write_text("x")
    key.chmod(mode)
    (line,) = mistakes(tmp_path, f"backup:\n  encryption_key_file: {key}")
    assert line.startswith("2:24: backup.encryption_key_file") and "chmod 600" in line
    key.chmod(0o600)
    assert load.load(tmp_path / "server.yaml").backup.encryption_key_file == (key,)


def test_a_key_file_among_the_credentials_of_systemd_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd gives such a file its own mode."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for folder in (tmp_path, credentials):
        (folder / "backup.key").touch(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    text = f"backup: {{encryption_key_file: [{tmp_path}/backup.key]}}"
    assert load.load(write(tmp_path, text)).backup.encryption_key_file


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    """The hint names the flag and the variable."""
    with pytest.raises(ConfigError, match="no such file") as caught:
        load.load(tmp_path / "none.yaml")
    assert caught.value.hint is not None and "--config" in caught.value.hint


def test_what_cannot_work_as_expected_is_a_warning(tmp_path: Path) -> None:
    """`config check` prints it; the server starts."""
    loaded = load.load_with_origins(write(tmp_path, "backup: {enabled: true}"))
    assert "no effect" in loaded.warnings[0] and "backup.enabled" in loaded.warnings[0]
    assert [w.split(" without ")[1].split(":")[0] for w in loaded.warnings[1:]] == [
        "backup.encryption_key_file", "backup.storage",
    ]  # fmt: skip
    assert loaded.origins == {"backup.enabled": f"{tmp_path}/server.yaml:1"}


def test_the_blocks_and_the_values_have_the_same_keys() -> None:
    """A key that only one side knows would be lost without a word."""
    for name, block in vars(schema).items():
        if isinstance(block, type) and issubclass(block, schema.Block) and name != "Block":
            value = getattr(model, name)
            assert list(block.model_fields) == list(value.__dataclass_fields__), name


def test_the_defaults_of_blocks_and_values_are_equal(tmp_path: Path) -> None:
    """An embedded node and a server with an empty file behave alike."""
    config = load.load(write(tmp_path, "node: {name: node-1}"))
    assert config == model.Config()


def test_the_socket_is_where_the_command_line_looks(tmp_path: Path) -> None:
    """As configured, else in the data folder."""
    text = f"node: {{data_dir: {tmp_path}}}"
    assert load.load(write(tmp_path, text)).socket_path() == tmp_path / "heroctl.sock"
    text += f"\napi: {{socket: {tmp_path}/x.sock}}"
    assert load.load(write(tmp_path, text)).socket_path() == tmp_path / "x.sock"


def test_the_model_alone_loads_no_library() -> None:
    """An embedded node must not pay for YAML and pydantic."""
    import subprocess
    import sys

    code = "import sys, heroctl_core.config.model; print({'yaml', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("milliseconds", [99, 60_001])
def test_an_election_timeout_that_cannot_work_is_refused(
    milliseconds: int,
) -> None:
    """A service that embeds a node builds the same values and gets the same refusal."""
    assert model.Config(raft=model.Raft(election_timeout_ms=100)).raft.election_timeout_ms == 100
    with pytest.raises(ConfigError, match=f"is {milliseconds}; allowed: 100 to 60000"):
        model.Config(raft=model.Raft(election_timeout_ms=milliseconds))
