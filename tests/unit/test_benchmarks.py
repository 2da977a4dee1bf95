"""The benchmarks are there to be run by name; none is run here, for times are no tests."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
ASKED_FOR = {
    *("bench_commits", "bench_etcd", "bench_failover", "bench_growth", "bench_pause"),
    *("bench_restore", "bench_snapshot", "bench_startup"),
}


def test_the_benchmarks_that_the_goals_need_are_there() -> None:
    """Each goal of benchmarks/README.md has a benchmark that measures it."""
    assert set(NAMES) >= ASKED_FOR


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_says_its_question_and_runs_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports, the first line of its docstring is the question, and main takes as_json; every
    goal that it shows is a number."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    module = import_module(f"benchmarks.{name}")
    question = (module.__doc__ or "").partition("\n")[0]
    assert question.startswith("How ") and question.endswith(".")
    assert len(question) <= 100
    assert list(inspect.signature(module.main).parameters) == ["as_json"]
    keys = [line.key for line in module.LINES]
    assert len(keys) == len(set(keys)) > 0
    assert all(line.at_most is None or line.at_least is None for line in module.LINES)
