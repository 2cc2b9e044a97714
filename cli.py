"""`homing`: the command line. Nothing but putting the commands together; each lives in `engine.commands`."""

from __future__ import annotations

import click

from engine import __version__
from engine.commands import (
    asking,
    house,
    joining,
    operating,
    people,
    planning,
    running,
    serving,
    shop,
    showing,
    simulating,
    telling,
    testing,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="homing")
def main() -> None:
    """Lifecycle email as code: flows and mails in Git, tested in virtual time, sent at most once."""


for module in (
    shop,
    showing,
    testing,
    planning,
    simulating,
    telling,
    running,
    asking,
    people,
    operating,
    serving,
    house,
    joining,
):
    module.register(main)

if __name__ == "__main__":
    main()
