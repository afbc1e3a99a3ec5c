"""The command line. Level 10. Commands are imported when they are asked for, so that `--help` is quick."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import Any

import click

from localprompt.cli.options import DEBUG, debug_option
from localprompt.cli.streams import lasting_streams, say
from localprompt.errors import ConfigError, LocalPromptError, nearest
from localprompt.interface.version import __version__

_COMMANDS = (
    *("optimize", "evaluate", "compare", "sensitivity", "transfer", "leaderboard", "report", "export", "resume"),
    *("replay", "port", "runs", "lm-eval", "methods", "serve", "models", "tasks"),
)
"""In the order in which people meet them, each in a module and under a name of its own."""
_FAILURE, _USAGE, _INTERRUPTED = 1, 2, 130
_SHOWN = 300
"""Characters of an error that nobody wrote for people."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is needed, and turns errors into a sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people meet them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"localprompt.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with, or name the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            ctx.fail(f"no such command {args[0]!r}; {nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; exit 1 also where standard output cannot be written, though all else was done."""
        with lasting_streams() as out:
            try:
                return super().main(*args, **extra)
            except SystemExit as end:
                if out is not None and out.lost:
                    from localprompt.interface.advice import command  # noqa: PLC0415 - only when something went wrong

                    kept = f"what was done is done: {command('runs', 'list')}, with the same --store, names its runs"
                    _complain(f"standard output cannot be written: {out.lost}", kept)
                    end.code = end.code or _FAILURE
                raise

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; exit 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own way to end
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a net below all that foreign files can cause
            if ctx.meta.get(DEBUG):
                traceback.print_exc()
            message, hint, code = _told(error)
            _complain(message, hint)
            ctx.exit(code)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@debug_option
@click.version_option(__version__, prog_name="localprompt")
def main() -> None:
    """Optimise prompts for one quantised GGUF model, offline, with evidence that they are better."""


def _told(error: BaseException) -> tuple[str, str, int]:
    """Return what went wrong, what to do about it, and the exit code."""
    if isinstance(error, LocalPromptError):
        return error.message, error.hint, _USAGE if isinstance(error, ConfigError) else _FAILURE
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "", _INTERRUPTED
    message = f"unexpected {type(error).__name__}: {str(error)[:_SHOWN]}"
    return message, "--debug shows where; please report it", _FAILURE


def _complain(message: str, hint: str) -> None:
    from localprompt.cli.printable import printable  # noqa: PLC0415 - only when something went wrong

    say(f"Error: {printable(message)}", err=True)
    if hint:
        say(f"Hint: {printable(hint)}", err=True)
