"""What the command line prints: results to stdout, everything else to stderr.

`-o table|json|yaml` and HEROCTL_OUTPUT choose the form; with json also errors are JSON. Loads the
standard library and click only; rich and YAML come in where a table or YAML is printed.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import click

from heroctl_core.errors import HeroctlError, UsageError

FORMS: Final = ("table", "json", "yaml")
_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNCHANGED: Final = "not confirmed: nothing was changed"
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(slots=True)
class Settings:
    """What holds for the whole command line; click carries it as `ctx.obj`."""

    form: str = "table"

    def choose(self, form: str | None) -> None:
        """Takes a form of output; UsageError for a word that is none."""
        if form is None:
            return
        if form not in FORMS:
            raise UsageError(f"output {form!r} is not known; allowed: {', '.join(FORMS)}")
        self.form = form


def asked_for(arguments: Sequence[str]) -> str | None:
    """The form that the command line or HEROCTL_OUTPUT asks for, so that a mistake in the rest
    of the command line is already told in it."""
    for option, value in pairwise(arguments):
        if option in ("-o", "--output") and value in FORMS:
            return value
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--output" and value in FORMS:
            return value
    return os.environ.get("HEROCTL_OUTPUT") or None


def output_option(function: F) -> F:
    """Adds `-o`, which works at every command that prints a result."""

    def choose(context: click.Context, _: click.Parameter, form: str | None) -> None:
        context.find_object(Settings).choose(form)  # type: ignore[union-attr]

    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMS),
        expose_value=False,
        is_eager=True,
        callback=choose,
        help="Form of the result (HEROCTL_OUTPUT).",
    )(function)


def emit(value: Any, *, text: Callable[[], None] | None = None) -> None:
    """Prints the result of a command: JSON or YAML of `value`, or what `text` prints."""
    form = _settings().form
    if form == "json":
        line(json.dumps(value, ensure_ascii=False, indent=2))
    elif form == "yaml" or text is None:
        from heroctl_core.config.documents import dump

        click.echo(dump(value), nl=False)  # YAML quotes what a terminal would obey
    else:
        text()


def emit_one(value: Any, *, text: Callable[[Any], str]) -> None:
    """Prints one of many results as it comes: a line, one line of JSON, or a YAML document."""
    form = _settings().form
    if form == "json":
        line(json.dumps(value, ensure_ascii=False))
    elif form == "yaml":
        from heroctl_core.config.documents import dump

        click.echo("---\n" + dump(value), nl=False)
    else:
        line(text(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a plain table: fits a terminal, and in a pipe no cell is ever cut."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    width = None if sys.stdout.isatty() else 10_000
    console = Console(width=width, highlight=False, markup=False, soft_wrap=False)
    with console.capture() as captured:
        console.print(grid)
    click.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def cell(value: object) -> str:
    """A value as one cell: lists joined, maps as key=value, nothing as a dash."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = ",".join(f"{key}={item}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        value = ",".join(str(item) for item in value)
    return visible(str(value)).replace("\n", "\\n")


def line(text: str = "", *, err: bool = False) -> None:
    """Prints text that may hold words of others: what would move the cursor, change colours or the
    direction of reading is shown as JSON would write it, in JSON too."""
    click.echo(visible(text), err=err)


def visible(text: str) -> str:
    """The text without characters that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in _CONTROLS


def say(message: str) -> None:
    """Progress or a remark, on stderr."""
    line(message, err=True)


def warn(message: str) -> None:
    """A warning on stderr; as JSON when the output is JSON."""
    if _settings().form == "json":
        line(json.dumps({"type": "warning", "message": message}), err=True)
    else:
        line(f"warning: {message}", err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal; without one, UsageError unless `--yes` was given. HeroctlError for no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("needs --yes: there is no terminal to ask on")
    if not answer(lambda: click.confirm(question, err=True)):
        raise HeroctlError(_UNCHANGED)


def answer(ask: Callable[[], T]) -> T:
    """What `ask` gives. Ctrl-C and Ctrl-D leave the line of the question; the latter is a no."""
    try:
        return ask()
    except click.Abort as abort:
        line(err=True)
        if isinstance(abort.__context__, EOFError):
            raise HeroctlError(_UNCHANGED) from abort
        raise


def fail(error: HeroctlError, settings: Settings) -> int:
    """Writes an error to stderr; its exit code."""
    if settings.form == "json":
        problem = {
            "type": "error",
            "code": error.exit_code,
            "reason": error.reason,
            "message": error.message,
            "hint": error.hint,
        }
        line(json.dumps(problem, ensure_ascii=False), err=True)
    else:
        line(f"error: {error.message}", err=True)
        if error.hint:
            line(f"hint: {error.hint}", err=True)
    return error.exit_code


def size(count: int) -> str:
    """A size in decimal units with one decimal: 4.2 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _settings() -> Settings:
    return click.get_current_context().find_object(Settings) or Settings()
