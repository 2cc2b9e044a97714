"""`homing`: the command line. Nothing but finding the commands; each lives in `engine.commands`.

A command's module is imported when the command is asked for: none of them pays for what the others need.
"""

from __future__ import annotations

from importlib import import_module

import click

from engine import __version__
from engine.commands.wrong_usage import TellingGroup

MODULES = {
    "asking": ("why", "messages"),
    "house": ("house",),
    "joining": ("worker",),
    "operating": ("run", "live", "doctor", "db"),
    "people": ("customer", "recommend"),
    "planning": ("plan", "apply"),
    "running": ("tick",),
    "standing": ("pause", "resume", "status"),
    "serving": ("keys", "serve", "bounces"),
    "shop": ("init", "validate", "explain", "schema"),
    "showing": ("preview", "demo"),
    "simulating": ("simulate",),
    "telling": ("ingest", "quarantine"),
    "testing": ("test",),
}
"""The modules of `engine.commands`, and the commands that each of them registers."""
_HOME = {name: module for module, names in MODULES.items() for name in names}


class Commands(TellingGroup):
    """A group whose commands are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_HOME)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module at the first time."""
        if cmd_name in _HOME and cmd_name not in self.commands:
            import_module(f"engine.commands.{_HOME[cmd_name]}").register(self)
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="homing")
def main() -> None:
    """Lifecycle email as code: flows and mails in Git, tested in virtual time, sent at most once."""


if __name__ == "__main__":
    main()
