"""The `heroctl` command: finds the sub-command, loads only its module, turns errors into codes.

This module and what it imports may load click and the standard library only: `heroctl --help`
answers at once. Every table of commands is written out here for that reason.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click

from heroctl_core.errors import HeroctlError, Interrupted, UsageError

from . import output

# Name: module and one line for --help. The module's attribute is called `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "acl": ("acl", "Policies and tokens: who may do what."),
    "apply": ("apply", "Put every document of a file or folder."),
    "cluster": ("cluster", "The members of the cluster."),
    "config": ("config", "Check and show server.yaml."),
    "dev": ("dev", "Run several real nodes on this machine, to play with."),
    "ingress": ("ingress", "Routes from the outside to jobs."),
    "job": ("job", "Declared jobs."),
    "key": ("key", "Keys that encrypt snapshots."),
    "metrics": ("metrics", "Recent metric history."),
    "node": ("node", "The machines that the catalogue knows."),
    "secret": ("secret", "Stored secrets."),
    "server": ("server", "Run one node of a cluster."),
    "snapshot": ("snapshot", "Save, look into, verify and restore the cluster's state."),
    "status": ("status", "How the cluster is, seen from one node."),
    "tls": ("tls", "Certificates of a cluster and its nodes."),
    "version": ("version", "The version of this program."),
}


class LazyGroup(click.Group):
    """A group whose commands are modules that are loaded when they are typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, without loading anything."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"heroctl_cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in --help, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


EPILOG: Final = """\b
Exit codes: 0 ok, 1 other, 2 usage, 3 node not reachable, 4 no quorum,
5 permission denied, 6 not found, 7 integrity check failed, 8 wrong or missing
key, 9 refused by a guard, 10 a remote copy failed, 11 restore test failed,
12 restore test without verdict, 13 busy, 14 conflict, 15 outcome unknown,
130 interrupted."""


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """The same as `heroctl version`."""
    if wanted:
        context.invoke(heroctl.get_command(context, "version"))  # type: ignore[arg-type]
        context.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help=COMMANDS["version"][1],
)
def heroctl() -> None:
    """HeroCtl: a replicated control plane with backups that work on the worst day."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the program with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """The exit code of one command line; errors are written to stderr."""
    settings = output.Settings()
    try:
        settings.choose(output.asked_for(arguments))
        result: Any = heroctl.main(
            arguments, prog_name="heroctl", standalone_mode=False, obj=settings
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except HeroctlError as error:
        return output.fail(error, settings)
    except click.ClickException as error:
        return output.fail(_translated(error), settings)
    except (click.Abort, KeyboardInterrupt):
        return output.fail(Interrupted("interrupted"), settings)
    except OSError as error:
        # Files and sockets have their own translations; this is what they did not foresee.
        place = f"{error.filename}: " if error.filename else ""
        what = (error.strerror or str(error)).lower()
        return output.fail(HeroctlError(place + what), settings)


def _translated(error: click.ClickException) -> UsageError:
    context: click.Context | None = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None:
        return UsageError(message[:1].lower() + message[1:].rstrip("."))
    hint = f"see: {context.command_path} --help"
    # A group without a command: click's message is the whole help.
    if isinstance(context.command, click.Group) and message == context.get_help():
        names = ", ".join(context.command.list_commands(context))
        return UsageError(f"a command is missing; allowed: {names}", hint=hint)
    return UsageError(message[:1].lower() + message[1:].rstrip("."), hint=hint)
