# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru rules`: the packet filter's rules that the configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from saru.commands import with_config

if TYPE_CHECKING:
    from saru.config import Config

DIFFERS = 1


@click.group()
def rules() -> None:
    """The rules that let a packet for a VIP pass only where its block is held."""


@rules.command()
@with_config
@click.option("--family", type=click.Choice(["4", "6"]), help="Only IPv4's or only IPv6's.")
def show(config: Config, family: str | None) -> None:
    """Print the rules in the form that `iptables-restore --noflush` takes.

    Feed it once: `saru rules show --family 4 | iptables-restore --noflush`. Better: `saru rules
    apply`, which may be run again and again.
    """
    from saru.rules.model import rule_sets, settings

    sets = [each for each in rule_sets(config) if family in (None, str(each.family.value))]
    if not sets:
        why = "asks for no rules of this family" if config.services else "has no [[service]]"
        click.echo(f"# {config.path or 'the configuration'} {why}")
    for each in sets:
        click.echo(f"# {each.family}")
        click.echo(each.text(), nl=False)
    for setting in settings(config) if sets else ():
        click.echo(f"# sysctl {setting.name} = {setting.value}")


@rules.command()
@with_config
def apply(config: Config) -> None:
    """Put the rules in. Changes what differs and nothing else; prints what it did."""
    from saru.rules import install

    _say(install.apply(config), "the rules are in place; nothing had to be done")


@rules.command()
@with_config
@click.pass_context
def check(ctx: click.Context, config: Config) -> None:
    """Print what is missing or different. Exit status 1 if anything is."""
    from saru.rules import install

    found = install.check(config)
    _say(found, "the rules are in place" if config.services else "no rules are asked for, or there")
    ctx.exit(DIFFERS if found else 0)


@rules.command()
@with_config
def remove(config: Config) -> None:
    """Take Saru's chains out, and the jumps to them. Everything else stays as it is."""
    from saru.rules import install

    _say(install.remove(config), "none of Saru's rules were there")


def _say(lines: list[str], otherwise: str) -> None:
    click.echo("\n".join(lines) or otherwise)
