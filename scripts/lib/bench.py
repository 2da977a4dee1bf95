"""Runs a benchmark by name, or lists what there is.

A benchmark is `benchmarks/bench_<name>.py`: a docstring whose first line is the question that it
answers, and `main(as_json: bool) -> int`, whose result is the exit code.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def questions() -> dict[str, str]:
    """Benchmark name → the question that it answers, sorted by name."""
    found = {}
    for path in sorted(FOLDER.glob("bench_*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.stem.removeprefix("bench_")] = doc.partition("\n")[0]
    return found


def main() -> int:
    """The exit code of the benchmark."""
    known = questions()
    parser = argparse.ArgumentParser(prog="scripts/bench", description="runs one benchmark")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, question in known.items():
            print(f"{name:<12} {question}")
        return 0
    if arguments.name not in known:
        parser.error(f"no benchmark {arguments.name!r}; there is: {', '.join(known) or 'none'}")
    module = importlib.import_module(f"benchmarks.bench_{arguments.name}")
    code: int = module.main(as_json=arguments.json)
    return code


if __name__ == "__main__":
    sys.exit(main())
