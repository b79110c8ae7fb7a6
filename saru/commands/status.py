# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru status`: what the daemon of this host says of itself and its cluster."""

from __future__ import annotations

import click

from saru.commands import with_config
from saru.config import Config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the whole snapshot as JSON.")
@with_config
def status(as_json: bool, config: Config) -> None:
    """Directors, state, weight, blocks, term, master, lease, quorum, and what is wrong."""
    from saru import control
    from saru.status import Status

    path = control.socket_path(config.daemon.run, config.cluster.name)
    snapshot = control.ask(path, Status, "status")
    if as_json:
        from saru.json_text import json_text

        click.echo(json_text(snapshot))
    else:
        from rich.console import Console

        from saru.status import view as status_view

        status_view.show(snapshot, Console(highlight=False))
