"""`heroctl job watch` and its siblings: each change as it comes, in the chosen form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heroctl_core import limits
from heroctl_core.errors import NodeFault
from heroctl_core.state import events
from heroctl_core.testing.memory_node import ServedNode


@pytest.fixture(autouse=True)
def ends(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every watch ends, with a word, when it has given what is there already."""
    open_watch = served.node.watches.open

    def ended(*args: object, **kwargs: object) -> object:
        watch = open_watch(*args, **kwargs)  # type: ignore[arg-type]
        watch.end(NodeFault("this node is stopping", hint="watch another node"))
        return watch

    monkeypatch.setattr(served.node.watches, "open", ended)
    served.node.jobs.put("web", {"image": "web:1"})
    served.node.jobs.put("worker", {})
    served.node.jobs.delete("web")


def test_changes_are_shown_a_line_each(served: ServedNode, cli: Any) -> None:
    """On stdout; the end with its reason and how to go on, on stderr."""
    done = cli("job", "watch", "--since", "1.0")
    assert done.out.splitlines() == [
        "put job web: revision 1",
        "put job worker: revision 2",
        "delete job web: revision 3",
    ]
    assert done.code == 1
    assert "error: this node is stopping" in done.err
    assert "hint: go on with --since 1.3" in done.err


def test_a_prefix_narrows(served: ServedNode, cli: Any) -> None:
    """Of names, within the kind of the command."""
    assert cli("job", "watch", "wo", "--since", "1.0").out == "put job worker: revision 2\n"
    assert cli("node", "watch", "--since", "1.0").out == ""


def test_json_is_a_line_for_each_change(served: ServedNode, cli: Any) -> None:
    """So that a program reads them as they come; YAML is a document for each."""
    lines = cli("job", "watch", "--since", "1.1", "-o", "json").out.splitlines()
    assert [(c["action"], c["name"], c["cursor"]) for c in map(json.loads, lines)] == [
        ("put", "worker", "1.2"),
        ("delete", "web", "1.3"),
    ]
    assert cli("job", "watch", "--since", "1.2", "-o", "yaml").out.startswith(
        "---\ncursor: '1.3'\n"
    )


@pytest.mark.parametrize("kind", ["job", "secret", "ingress", "node"])
def test_every_kind_can_be_watched(served: ServedNode, cli: Any, kind: str) -> None:
    """By its own command."""
    assert cli(kind, "watch", "--help").code == 0
    assert "this node is stopping" in cli(kind, "watch").err


@pytest.mark.parametrize("kind", ["policy", "token"])
def test_rights_can_be_watched(served: ServedNode, cli: Any, kind: str) -> None:
    """They are under `acl`."""
    assert "this node is stopping" in cli("acl", kind, "watch").err


def test_a_cursor_that_is_forgotten_or_wrong_ends_with_its_code(
    served: ServedNode, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 and the way out; 2 for what is no cursor."""
    monkeypatch.setattr(limits, "WATCH_EVENTS", 10)
    monkeypatch.setattr(events, "_CHUNK_EVENTS", 5)
    for number in range(40):
        served.node.jobs.put(f"job-{number}", {})
    done = cli("job", "watch", "--since", "1.1")
    assert (done.code, done.out) == (14, "")
    assert "hint: open a new watch, then list" in done.err
    assert cli("job", "watch", "--since", "9.1").code == 14
    assert cli("job", "watch", "--since", "now").code == 2
