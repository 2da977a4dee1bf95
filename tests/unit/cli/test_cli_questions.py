"""What a person reads who is asked on a terminal and does not say yes."""

from __future__ import annotations

import io

import pytest

from heroctl_cli.main import run


class Terminal(io.StringIO):
    """What a person types; without a line they press Ctrl-C."""

    def __init__(self, typed: str | None) -> None:
        super().__init__(typed)
        self._interrupts = typed is None

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        if self._interrupts:
            raise KeyboardInterrupt
        return super().readline(-1 if size is None else size)


UNCHANGED = "not confirmed: nothing was changed"


@pytest.mark.parametrize(
    ("typed", "code", "error"),
    [("n\n", 1, UNCHANGED), ("", 1, UNCHANGED), (None, 130, "interrupted")],
)
def test_whoever_does_not_confirm(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    typed: str | None,
    code: int,
    error: str,
) -> None:
    """No and the end of the input change nothing and say so; Ctrl-C is another thing. Where the
    person did not end the line of the question, the error does not begin in it."""
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert run(["job", "delete", "web"]) == code
    shown = "".join(capfd.readouterr())
    ended = "" if typed else "\n"
    assert shown.endswith(f"delete job web? [y/N]: {ended}error: {error}\n"), shown
