"""Commands and groups that tell a mistake on the command line as JSON too, where JSON was asked for.

Comes in: the words behind `homing`. Goes out: for an unknown command or option with `--json` one JSON document on stdout,
beside click's own words on stderr; a command that resembles the unknown one is named. The exit code stays click's: 2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

_Result = TypeVar("_Result")
_OF_EVERY_COMMAND = ("--project", "--database", "--now", "--json", "--quiet", "--verbose", "-q", "-v")


def told_as_json(args: Sequence[str], call: Callable[[], _Result]) -> _Result:
    """Return what the call gives; a mistake in the command line goes up as ever, after its JSON where the words ask for it."""
    as_json = "--json" in args
    try:
        return call()
    except click.UsageError as error:
        if as_json:
            click.echo(json.dumps({"error": error.format_message()}))
        raise


class TellingCommand(click.Command):
    """A command whose wrong options are told as JSON too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return told_as_json(tuple(args), lambda: super(TellingCommand, self).parse_args(ctx, args))


class TellingGroup(click.Group):
    """A group whose unknown commands and options are told as JSON too; groups within it are of the same kind."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        return told_as_json(tuple(args), lambda: self._read(ctx, args))

    def _read(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name not in _OF_EVERY_COMMAND:
                raise
            told = f"{error.option_name} stands behind the command: {ctx.command_path} COMMAND {error.option_name}"
            raise click.UsageError(told, ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command."""
        return told_as_json(tuple(args), lambda: self._found(ctx, args))

    def _found(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not args or "Did you mean" in error.format_message():
                raise
            # Click knows the commands that were imported. Imported here: who types one that exists does not wait for it.
            from engine.diagnostics import did_you_mean  # noqa: PLC0415

            hint = did_you_mean(args[0], self.list_commands(ctx)).replace("did", "Did", 1).replace('"', "'")
            raise click.UsageError(f"{error.format_message()} {hint}".strip(), ctx) from error


TellingGroup.group_class = TellingGroup
