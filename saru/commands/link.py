# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru link`: the shared MAC and the VIPs on an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from saru.commands import with_config

if TYPE_CHECKING:
    from saru.config import Config

DIFFERS = 1


@click.group()
def link() -> None:
    """The interface that all directors share the MAC and the VIPs of."""


@link.command()
@with_config
def up(config: Config) -> None:
    """Give the interface the shared MAC and the VIPs, the mask first. Prints what it did.

    The interface goes down for a moment, once; its routes and addresses are put back.
    """
    from saru.link import shared

    _say(shared.up(config), "the link is up; nothing had to be done")


@link.command()
@with_config
def down(config: Config) -> None:
    """Take the VIPs and the shared MAC away, and give back what `up` found."""
    from saru.link import shared

    _say(shared.down(config), "the link was down already")


@link.command()
@with_config
@click.pass_context
def check(ctx: click.Context, config: Config) -> None:
    """Print what is missing or different. Exit status 1 if anything is."""
    from saru.link import shared

    found = shared.check(config)
    _say(found, "the link is as configured")
    ctx.exit(DIFFERS if found else 0)


def _say(lines: list[str], otherwise: str) -> None:
    click.echo("\n".join(lines) or otherwise)
