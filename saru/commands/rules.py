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
    """Print the rules in the form that `iptables-restore --noflush`, or `nft -f`, takes.

    With the data plane "nftables" it is the latter: `saru rules show | nft -f -`, which may be run
    again. Feed the other once: `saru rules show --family 4 | iptables-restore --noflush`. Better:
    `saru rules apply`, which may be run again and again.
    """
    from saru.dataplane.choice import chosen
    from saru.rules import install
    from saru.rules.model import settings

    kind, why = chosen(config.director.dataplane)
    if install.by_nftables(config):
        if family is not None:
            raise click.UsageError("nftables' rules are one text for both families; no --family")
        texts = _for_nftables(config)
    else:
        texts = _for_iptables(config, family)
    if not texts:
        none = "asks for no rules of this family" if config.services else "has no [[service]]"
        click.echo(f"# {config.path or 'the configuration'} {none}")
        return
    click.echo(f"# for the data plane {kind}: {why}")
    click.echo("".join(texts), nl=False)
    for setting in settings(config):
        click.echo(f"# sysctl {setting.name} = {setting.value}")


def _for_iptables(config: Config, family: str | None) -> list[str]:
    from saru.rules.model import rule_sets

    sets = [each for each in rule_sets(config) if family in (None, str(each.family.value))]
    return [f"# {each.family}\n{each.text()}" for each in sets]


def _for_nftables(config: Config) -> list[str]:
    from saru.rules.nft_model import text

    return list(filter(None, [text(config)]))


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
