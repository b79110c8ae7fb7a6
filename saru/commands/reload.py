# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru reload`: the daemon reads its keys again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from saru.commands import with_config

if TYPE_CHECKING:
    from saru.config import Config


@click.command()
@click.option("--force", is_flag=True, help="Even if beats of other directors are lost by it.")
@with_config
def reload(force: bool, config: Config) -> None:
    """Have this host's daemon read the authkeys file again, and use its keys from now on.

    Refused while a director that is heard would lose beats by it. Everything else in the
    configuration is read when the daemon starts.
    """
    from saru import control
    from saru.status import Keyfile

    path = control.socket_path(config.daemon.run, config.cluster.name)
    keys = control.ask(path, Keyfile, "reload", force=force)
    accepted = ", ".join(map(str, keys.accepted))
    click.echo(f"{config.director.name}: signs with key {keys.signing}, accepts {accepted}")
