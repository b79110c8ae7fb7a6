# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru drain`, `undrain`, `weight`, `leave`: planned change, asked of this host's daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from saru.commands import await_end, time_option, with_config
from saru.wire.soundness import WEIGHT_MAX

if TYPE_CHECKING:
    from saru.config import Config
    from saru.daemon.operator import Outcome

ANSWER = 5.0  # seconds that the daemon has beyond its own limit


_timeout = click.option(
    "--timeout",
    callback=time_option,
    default="30s",
    metavar="TIME",
    help="How long to wait at most: 30s, 500ms, 2m (default: 30s).",
)
_wait = click.option(
    "--wait/--no-wait", default=True, help="Return when the blocks have gone (the default), or now."
)


@click.command()
@click.argument("name", required=False, default="")
@_wait
@_timeout
@click.option("--force", is_flag=True, help="Even if no other director could take its blocks.")
@with_config
def drain(name: str, wait: bool, timeout: int, force: bool, config: Config) -> None:
    """Hand a director's blocks over to the others, and give it none.

    Without NAME: this one. It stays drained, through restarts too, until it is undrained.
    """
    _share(config, timeout, node=name, drained=True, wait=wait, force=force)


@click.command()
@click.argument("name", required=False, default="")
@_timeout
@with_config
def undrain(name: str, timeout: int, config: Config) -> None:
    """Give a drained director its share of the blocks again. Without NAME: this one."""
    _share(config, timeout, node=name, drained=False)


@click.command()
@click.argument("name")
@click.argument("number", metavar="N", type=click.IntRange(0, WEIGHT_MAX))
@_timeout
@with_config
def weight(name: str, number: int, timeout: int, config: Config) -> None:
    """Change a director's weight, its share of the blocks beside the others' weights.

    It counts until that daemon ends; then the configuration's weight does again. 0: no blocks.
    """
    _share(config, timeout, node=name, weight=number)


@click.command()
@_wait
@_timeout
@with_config
def leave(wait: bool, timeout: int, config: Config) -> None:
    """Hand this director's blocks over to the others, and end its daemon.

    If nobody takes them in time, it goes on as before.
    """
    outcome = _ask(config, "leave", timeout, wait=wait)
    _say_moves(outcome)
    if wait:
        await_end(config, timeout)
    click.echo(f"{outcome.node}: " + ("has left" if wait else "leaves"))


def _ask(config: Config, what: str, timeout: int, **arguments: Any) -> Outcome:
    from saru import control
    from saru.config import duration
    from saru.daemon.operator import Outcome

    path = control.socket_path(config.daemon.run, config.cluster.name)
    limit = timeout / duration.SECOND
    return control.ask(path, Outcome, what, timeout=limit + ANSWER, limit=limit, **arguments)


def _share(config: Config, timeout: int, **arguments: Any) -> None:
    outcome = _ask(config, "share", timeout, **arguments)
    _say_moves(outcome)
    before = "" if outcome.changed else "as before: "
    drained = f"drained, until: saru undrain {outcome.node}" if outcome.drained else "not drained"
    click.echo(f"{outcome.node}: {before}weight {outcome.weight}, {drained}")


def _say_moves(outcome: Outcome) -> None:
    for move in outcome.moves:
        to = [f"{count} to {name}" for name, count in move.to.items()]
        if move.unheld:
            to.append(f"{move.unheld} held by nobody")
        click.echo(f"id {move.id}: {move.blocks} blocks of {outcome.node}: {', '.join(to)}")
