# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru pause`: end the daemon so that the next one goes on where it stopped."""

from __future__ import annotations

import click

from saru.commands import await_end, time_option, with_config
from saru.config import Config


@click.command()
@click.option(
    "--timeout",
    callback=time_option,
    default="30s",
    metavar="TIME",
    help="How long to wait at most: 30s, 500ms, 2m (default: 30s).",
)
@click.option(
    "--within",
    callback=time_option,
    metavar="TIME",
    help="Refuse if a lease is shorter than this: it would pass before the next daemon is there.",
)
@with_config
def pause(timeout: int, within: int | None, config: Config) -> None:
    """End the daemon for a restart: this director's blocks stay in its kernel.

    They stay until its lease passes, deadtime at most; start the daemon again before that, and it
    goes on as if nothing had been. If it does not come back, the others have the blocks as after
    any failure. To end it for longer use leave, or systemctl stop saru. It is refused if the next
    daemon could not go on because the configuration or the program has changed.
    """
    from saru import control
    from saru.config import duration
    from saru.errors import SaruError
    from saru.state import pause

    if within is not None and config.times.deadtime < within:
        raise SaruError(
            f"times.deadtime is {duration.text(config.times.deadtime)}: too short for a pause of "
            f"{duration.text(within)}; stop the daemon, so that its blocks are handed over: "
            "systemctl stop saru"
        )
    path = control.socket_path(config.daemon.run, config.cluster.name)
    asked = pause.Asked.by(config).words()
    control.ask(path, type(None), "pause", timeout=timeout / duration.SECOND, **asked)
    await_end(config, timeout)
    if not pause.path(config).exists():
        raise SaruError(f"{config.director.name} has left instead of pausing; its log says why")
    click.echo(f"{config.director.name}: pauses; start it again soon: systemctl start saru")
