"""The command line itself: quick to start, one form for errors, documented exit codes."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from heroctl_cli import main, output
from heroctl_core import errors


def test_help_loads_click_and_the_standard_library_only() -> None:
    """`heroctl --help` answers at once because nothing heavy is loaded before it is needed."""
    code = (
        "import sys, json\n"
        "from heroctl_cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    foreign = {name for name in loaded - sys.stdlib_module_names if not name.startswith("_")}
    assert foreign <= {"click", "heroctl_cli", "heroctl_core", "sitecustomize", "usercustomize"}
    assert {"ssl", "asyncio", "http"} & loaded == set()
    for name in main.COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_every_command_of_the_table_exists_and_explains_itself(name: str) -> None:
    """The table of names and the modules agree, and every command and option has its help."""
    module, summary = main.COMMANDS[name]
    command = importlib.import_module(f"heroctl_cli.commands.{module}").command
    assert isinstance(command, click.Command) and command.name == name
    assert summary.endswith(".")
    for each in _with_all_below(command):
        assert each.help and each.help.endswith("."), each.name
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                assert parameter.help and parameter.help.endswith("."), (name, parameter.opts)


def _with_all_below(command: click.Command) -> list[click.Command]:
    below = command.commands.values() if isinstance(command, click.Group) else []
    return [command, *(found for each in below for found in _with_all_below(each))]


def test_the_exit_codes_are_those_of_the_documents() -> None:
    """One table: a class has one code, and the code is never given twice for another meaning."""
    expected = {
        "ConfigError": 2, "UsageError": 2, "Unreachable": 3, "ReadOnly": 4, "NoLeader": 4,
        "Damaged": 7, "Truncated": 7, "NotAnArchive": 7, "WrongKey": 8, "NoKey": 8,
        "RecoveryError": 9, "PartialCopy": 10, "DrillFailed": 11, "DrillNoVerdict": 12,
        "Busy": 13, "OutcomeUnknown": 15, "Interrupted": 130,
    }  # fmt: skip
    assert {name: getattr(errors, name).exit_code for name in expected} == expected
    rejected = {reason: code for reason, (code, _) in errors.REJECT_REASONS.items()}
    assert (rejected["denied"], rejected["not_found"], rejected["conflict"]) == (5, 6, 14)


def test_help_names_every_exit_code(cli: Callable[..., Any]) -> None:
    """Those of all errors, and 0 and 1; nothing else."""
    epilog = cli("--help").out.partition("Exit codes: ")[2]
    waiting, codes = [errors.HeroctlError], {0}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        codes.add(getattr(kind, "exit_code", 1))
    codes |= {code for code, _ in errors.REJECT_REASONS.values()}
    assert {int(number) for number in re.findall(r"(\d+) [a-z]", epilog)} == codes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["jobs"], "no such command 'jobs'"),
        ([], "error: a command is missing; allowed: acl, apply, cluster, config, dev"),
        (
            ["acl", "policy"],
            "error: a command is missing; allowed: delete, get, list, put, watch\nhint",
        ),
        (["job", "get"], "missing argument 'NAME'"),
        (["job", "put"], "missing option '-f'"),
        (["version", "-o", "xml"], "'xml' is not one of"),
        (["status", "--token", "x"], "no such option '--token'"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    cli: Callable[..., Any], words: list[str], said: str
) -> None:
    """Exit code 2, one error line on stderr with a hint, nothing on stdout."""
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err.lower() or said in done.err
    assert done.err.startswith("error: ") and "--help" in done.err


def test_errors_are_json_when_the_output_is(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also usage errors, also by HEROCTL_OUTPUT; keys are stable."""
    for words in (["-o", "json"], ["--output=json"]):
        told = json.loads(cli("job", "get", *words).err)
        assert set(told) == {"type", "code", "reason", "message", "hint"}
        assert (told["type"], told["code"], told["reason"]) == ("error", 2, "usage")
    monkeypatch.setenv("HEROCTL_OUTPUT", "json")
    told = json.loads(cli("status").err)
    assert (told["code"], told["reason"]) == (3, "unreachable")
    monkeypatch.setenv("HEROCTL_OUTPUT", "xml")
    assert "allowed: table, json, yaml" in cli("version").err


def test_the_version_is_printed_in_every_form(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """stdout has the result and nothing else."""
    assert cli("version").out == "heroctl 0.1.0\n"
    assert json.loads(cli("version", "-o", "json").out) == {"version": "0.1.0"}
    assert cli("version", "-o", "yaml").out == "version: 0.1.0\n"
    assert cli("--version") == cli("version")
    monkeypatch.setenv("HEROCTL_OUTPUT", "json")
    assert json.loads(cli("--version").out) == {"version": "0.1.0"}


def test_no_node_is_exit_code_3_with_what_was_tried(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The message has every place, the hint how to start or name one."""
    done = cli("job", "list")
    assert (done.code, done.out) == (3, "")
    assert f"unix:{tmp_path}/no-node-here/heroctl.sock" in done.err and "--addr" in done.err
    done = cli("job", "list", "--addr", "127.0.0.1:1,localhost:1")
    assert done.code == 3 and "127.0.0.1:1" in done.err and "localhost:1" in done.err


@pytest.mark.parametrize("addr", ["10.0.0.1:7100", "example.org:7100", "127.0.0.1", "x"])
def test_an_address_that_is_none_or_not_safe_is_refused(cli: Callable[..., Any], addr: str) -> None:
    """A token must not cross a network without TLS."""
    done = cli("job", "list", "--addr", addr)
    assert done.code == 2 and ("needs TLS" in done.err or "is no address" in done.err)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`heroctl config show | head -1`: no traceback."""
    config = tmp_path / "server.yaml"
    config.write_text("")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "heroctl_cli", "config", "show", "--config", str(config)]
    first, second = os.pipe()
    os.close(first)  # nobody reads
    with os.fdopen(second, "wb") as out:
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, check=False,
                              env=environment)  # fmt: skip
    assert (done.stderr, done.returncode) == (b"", 1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 B"), (999, "999.0 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"),
        (999_950, "1.0 MB"), (4_200_000, "4.2 MB"), (999_949_999, "999.9 MB"),
        (999_950_000, "1.0 GB"), (4_249_000_000_000, "4249.0 GB"),
    ],
)  # fmt: skip
def test_sizes_are_decimal_with_one_decimal(count: int, text: str) -> None:
    """As in the guide: 4.2 MB; never 1000.0 of a smaller unit."""
    assert output.size(count) == text
