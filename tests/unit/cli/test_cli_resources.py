"""Resources from the command line: put, get, list, delete, apply, with and without a quorum."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heroctl_core.config.documents import values_of
from heroctl_core.testing.memory_node import ServedNode

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "catalogue"

JOB = "name: web\nlabels: {team: shop}\nspec: {image: web:2, replicas: 3}\n"
DOCUMENTS = {
    "job": JOB,
    "secret": "name: db\nvalue: hunter2\nmetadata: {owner: x}\n",
    "node": "name: n1\naddress: 10.20.0.11\nresources: {cpu: 16}\n",
    "ingress": "name: shop\nhost: shop.example.org\npath: /\njob: web\nport: 8080\ntls: true\n",
    "acl policy": "name: ops\nrules: [{resource: job, name: '*', actions: [read], effect: deny}]\n",
    "acl token": "name: ci\npolicies: [ops]\nexpires: 2027-01-01T00:00:00Z\n",
}


@pytest.mark.parametrize("noun", DOCUMENTS)
def test_what_was_put_is_got_listed_put_again_and_deleted(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path], noun: str
) -> None:
    """`get` prints a document that `put` takes; `list` has a row; `delete` needs --yes."""
    cli("job", "put", "-f", write("web.yaml", JOB))
    cli("acl", "policy", "put", "-f", write("ops.yaml", DOCUMENTS["acl policy"]))
    words = noun.split()
    put = cli(*words, "put", "-f", write("d.yaml", DOCUMENTS[noun]))
    assert put.code == 0, put.err
    (given,) = values_of(DOCUMENTS[noun], name="d")
    name = given["name"]
    got = cli(*words, "get", name)
    (shown,) = values_of(got.out, name="got")
    assert {key: shown[key] for key in given} == given
    again = cli(*words, "put", "-f", "-", stdin=got.out)
    assert again.code == 0, again.err
    listed = cli(*words, "list")
    assert listed.out.startswith("NAME") and re.search(rf"^{name} ", listed.out, re.M)
    rows = json.loads(cli(*words, "list", "-o", "json").out)
    assert name in [row["name"] for row in rows]
    for dependent in (
        ["ingress", "delete", "shop", "--yes"],
        ["acl", "token", "delete", "ci", "--yes"],
    ):
        if words != dependent[:-3]:
            cli(*dependent)
    refused = cli(*words, "delete", name)
    assert refused.code == 2 and "--yes" in refused.err
    assert cli(*words, "delete", name, "--yes").code == 0
    missing = cli(*words, "get", name)
    assert (missing.code, missing.out) == (6, "")


def test_expect_is_compare_and_set(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """The revision that was seen, 0 for new; a mismatch is exit code 14."""
    path = write("web.yaml", JOB)
    put = json.loads(cli("job", "put", "-f", path, "--expect", 0, "-o", "json").out)
    assert cli("job", "put", "-f", path, "--expect", 0).code == 14
    assert cli("job", "put", "-f", path, "--expect", put[0]["revision"]).code == 0
    assert cli("job", "delete", "web", "--yes", "--expect", put[0]["revision"]).code == 14
    two = cli("job", "put", "-f", "-", "--expect", 1, stdin=f"{JOB}---\nname: b\nspec: {{}}\n")
    assert two.code == 2 and "one document" in two.err


def test_a_new_token_is_printed_once_and_works(
    cli: Callable[..., Any], served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """acl bootstrap: stdout has the token alone, so that it can be put into a file."""
    done = cli("acl", "bootstrap")
    token = done.out.strip()
    assert re.fullmatch(r"heroctl_\w+_[\w-]+", token) and "keep it" in done.err
    assert cli("acl", "bootstrap").code == 14
    denied = cli("job", "list", "--addr", served.address)
    assert denied.code == 5 and "HEROCTL_TOKEN" in denied.err
    monkeypatch.setenv("HEROCTL_TOKEN", token)
    assert cli("job", "list", "--addr", served.address).code == 0
    monkeypatch.delenv("HEROCTL_TOKEN")
    file = served.socket.with_name("token")
    file.write_text(token + "\n")
    file.chmod(0o640)
    monkeypatch.setenv("HEROCTL_TOKEN_FILE", str(file))
    refused = cli("job", "list", "--addr", served.address)
    assert refused.code == 2 and f"HEROCTL_TOKEN_FILE {file} can be read" in refused.err
    assert f"hint: chmod 600 {file}" in refused.err and token not in refused.err
    file.chmod(0o600)
    monkeypatch.setenv("HEROCTL_ADDR", f"127.0.0.1:1,http://{served.address}")
    assert cli("job", "list").code == 0
    monkeypatch.setenv("HEROCTL_TOKEN_FILE", str(file) + ".none")
    assert cli("job", "list").code == 2


def test_without_a_quorum_reads_fall_back_with_a_warning(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """get, list and status exit 0 and say on stderr how old the answer is; a write is exit 4."""
    path = write("web.yaml", JOB)
    cli("job", "put", "-f", path)
    served.node.replicator.go_read_only()
    for words in (["job", "get", "web"], ["job", "list"], ["status"], ["cluster", "members"]):
        done = cli(*words)
        assert done.code == 0 and done.out, done.err
        assert re.search(r"^warning: .*\bno ", done.err), done.err
    warning = json.loads(cli("job", "list", "-o", "json").err.splitlines()[0])
    assert warning["type"] == "warning"
    # The reason comes last: that of a contested node ends in a command to copy.
    assert re.search(r"revision 1, \d+\.\d s old: no majority .* refused$", warning["message"])
    refused = cli("job", "put", "-f", path)
    assert (refused.code, refused.out) == (4, "")
    assert "--force-bootstrap" in refused.err
    assert cli("status", "--exit-code").code == 4
    served.node.replicator.go_normal()
    assert cli("status", "--exit-code").code == 0


def test_a_lost_answer_is_exit_code_15(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """The message has the request id."""
    served.node.replicator.lose_outcomes()
    done = cli("job", "put", "-f", write("web.yaml", JOB))
    assert done.code == 15 and re.search(r"request id [0-9a-f]{32}", done.err)


def test_the_examples_are_applied_and_counted(cli: Callable[..., Any], served: ServedNode) -> None:
    """A whole folder in one go, in an order in which documents can refer to each other."""
    done = cli("apply", "-f", EXAMPLES)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == (
        "applied: 4 nodes, 6 policies, 5 tokens, 47 jobs, 23 secrets, 9 ingress routes"
    )
    assert len([line for line in done.out.splitlines() if line.startswith("token ")]) == 5
    again = json.loads(cli("apply", "-f", EXAMPLES, "-o", "json").out)
    assert again["applied"]["job"] == 47 and again["tokens"] == {}


def test_apply_looks_at_everything_before_it_writes_anything(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """All mistakes of all files at once, and nothing was written."""
    write("d/a.yaml", JOB)
    write("d/b.yml", "kind: jbo\nname: x\n---\nkind: job\nname: ''\n---\n- 5\n")
    write("d/deep/c.json", '{"kind": "secret", "name": "s", "value": NaN}')
    folder = write("d/e.yaml", "kind: node\nname: NO\n").parent
    done = cli("apply", "-f", folder)
    assert done.code == 2
    for said in (
        "a.yaml: document 1: kind is None; allowed: node, policy",
        "b.yml: document 1: kind is 'jbo'; allowed",
        "b.yml: document 2: job: name is ''",
        "b.yml: document 3: must be a mapping",
        "e.yaml:2:7: name: NO is ambiguous",
    ):
        assert said in done.err, done.err
    assert served.node.replicator.machine.revision == 0


def test_apply_says_which_document_was_refused(cli: Callable[..., Any], served: ServedNode) -> None:
    """File, kind and name, and how many were applied before; the code is that of the refusal."""
    text = f"kind: job\n{JOB}---\nkind: ingress\nname: i\nhost: a.b\njob: none\nport: 1\n"
    done = cli("apply", "-f", "-", stdin=text)
    assert done.code == 2
    assert "stdin: ingress i: " in done.err and "(1 document applied)" in done.err
    assert [job.name for job in served.node.jobs.list()] == ["web"]


@pytest.mark.parametrize("words", [["apply"], ["acl", "token", "put"]])
def test_what_was_written_before_a_refusal_is_told(
    cli: Callable[..., Any], served: ServedNode, words: list[str]
) -> None:
    """A new token is shown once: it must not get lost when the document behind it is refused."""
    served.node.acl.put_policy("p", [{"resource": "job", "name": "*", "actions": ["read"]}])
    text = "".join(
        f"---\nkind: token\nname: {name}\npolicies: [{policy}]\n"
        for name, policy in (("a", "p"), ("b", "none"), ("c", "p"))
    )
    done = cli(*words, "-f", "-", "-o", "json", stdin=text)
    assert done.code == 2
    assert "stdin: token b: " in done.err and "(1 document applied)" in done.err
    (token,) = re.findall(r"heroctl_\w+_[\w-]+", done.out)
    assert served.node.acl.authenticate(token).name == "a"
    json.loads(done.out)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: secret\nname: x\nvalue: y", "kind is secret; this command takes job only"),
        ("", "no document in it"),
        ("name: x\nspec: {when: 2026-01-01}\nname: y", "duplicate key"),
        ("- [", "stdin:1:4"),
        ("---\nkind: node\n" * 61, "stdin: document 1 and 60 more: kind is node; this command"),
    ],
)
def test_a_wrong_document_is_refused_before_the_node_is_asked(
    cli: Callable[..., Any], text: str, said: str
) -> None:
    """Exit code 2, also without a node."""
    done = cli("job", "put", "-f", "-", stdin=text)
    assert done.code == 2 and said in done.err, done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert cli("job", "put", "-f", "/no/such/file").code == 2


def test_a_key_that_no_document_has_is_told_with_its_file(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """It is the node that knows; the command line knows the file."""
    path = write("web.yaml", "{kind: job, name: web, spce: {}}")
    done = cli("job", "put", "-f", path)
    assert done.code == 2 and done.err.startswith(f"error: {path}: "), done.err
    assert "spce" in done.err


def test_a_job_over_the_limit_is_refused_with_the_limit(
    cli: Callable[..., Any], served: ServedNode, write: Callable[..., Path]
) -> None:
    """10 MB: exit code 2 and the number."""
    path = write("big.json", json.dumps({"name": "big", "spec": {"blob": "x" * 10_000_000}}))
    done = cli("job", "put", "-f", path)
    assert done.code == 2 and "the limit is 1048576" in done.err


def test_metrics_are_put_listed_and_read(cli: Callable[..., Any], served: ServedNode) -> None:
    """A document with a step; labels and a time narrow the answer."""
    now_ms = served.node.replicator.status().mode_since_ms
    document = {
        "series": "cpu", "labels": {"node": "n1"}, "start": now_ms - 600_000, "step_s": 60,
        "values": [1, 2.5, 3],
    }  # fmt: skip
    put = cli("metrics", "put", "-f", "-", stdin=json.dumps(document))
    assert put.code == 0 and "cpu: 3 samples" in put.out, put.err
    assert re.search(r"^cpu +node=n1 +3 ", cli("metrics", "list").out, re.M)
    got = json.loads(cli("metrics", "get", "cpu", "-l", "node=n1", "-o", "json").out)
    assert [value for _, value in got["items"][0]["samples"]] == [1, 2.5, 3]
    assert cli("metrics", "get", "cpu", "-l", "node=n2").out.splitlines() == ["LABELS  TIME  VALUE"]
    unknown = cli("metrics", "get", "nope")
    assert unknown.code == 6 and "metrics nope does not exist" in unknown.err
    assert cli("metrics", "get", "cpu", "-l", "node").code == 2
    assert cli("metrics", "get", "cpu", "--since", "yesterday").code == 2


def test_metrics_are_deleted_by_name_and_labels(
    cli: Callable[..., Any], served: ServedNode
) -> None:
    """`-l` narrows as for get; what is not there is exit code 6; --yes as for every delete."""
    now_ms = served.node.replicator.status().mode_since_ms
    for node in ("n1", "n2", "n3"):
        served.node.metrics.append("cpu", [(now_ms, 1.0)], labels={"node": node, "disk": "a b"})
    refused = cli("metrics", "delete", "cpu", "-l", "node=n1")
    assert refused.code == 2 and "--yes" in refused.err
    labels = ("-l", "node=n1", "-l", "disk=a b")
    done = cli("metrics", "delete", "cpu", *labels, "--yes")
    assert (done.code, done.out) == (0, "metrics cpu node=n1 disk=a b: deleted\n"), done.err
    assert [each.labels["node"] for each in served.node.metrics.list()] == ["n2", "n3"]
    again = cli("metrics", "delete", "cpu", *labels, "--yes")
    assert again.code == 6 and "cpu" in again.err
    told = json.loads(cli("metrics", "delete", "cpu", "--yes", "-o", "json").out)
    assert told == {"kind": "metrics", "name": "cpu", "revision": 5}
    assert served.node.metrics.list() == []


def test_a_long_cell_is_never_cut_in_a_pipe(cli: Callable[..., Any], served: ServedNode) -> None:
    """Programs read tables too: one row is one line, whole."""
    name = "x" * 250
    served.node.jobs.put(name, {"image": "y" * 300}, labels={"k": "[bold]v[/bold]"})
    lines = cli("job", "list").out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:2] == [name, "y" * 300] and "k=[bold]v[/bold]" in lines[1]


HOSTILE = "a\x1b[2J\x9b1m\x07\u202eb"


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_words_of_others_do_not_reach_a_terminal_raw(
    cli: Callable[..., Any], served: ServedNode, form: str
) -> None:
    """Neither in results nor in errors; JSON still says the same."""
    served.node.jobs.put("web", {"image": HOSTILE}, labels={"k": HOSTILE + "\nforged"})
    shown = [cli("job", "list", "-o", form), cli("job", "get", HOSTILE, "-o", form)]
    assert [done.code for done in shown] == [0, 6]
    for done in shown:
        assert not {"\x1b", "\x9b", "\x07"} & set(done.out + done.err)
        assert re.search(r"\\(u001b|e)\[2J", done.out + done.err)
    assert "\nforged" not in shown[0].out
    if form == "json":
        assert json.loads(shown[0].out)[0]["spec"]["image"] == HOSTILE
