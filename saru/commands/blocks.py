# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru blocks`: who holds each block, since when."""

from __future__ import annotations

import click

from saru.commands import with_config
from saru.config import Config
from saru.errors import SaruError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print runs of blocks as JSON.")
@click.option("--id", "id_", type=click.IntRange(1, 65535), help="This id only.")
@with_config
def blocks(as_json: bool, id_: int | None, config: Config) -> None:
    """Who holds each block, since when, as a picture."""
    from saru import control
    from saru.status import Blocks, Status

    path = control.socket_path(config.daemon.run, config.cluster.name)
    snapshot = control.ask(path, Status, "status")
    shown = [division for division in snapshot.divisions if id_ in (None, division.id)]
    if not shown and id_ is not None:
        known = ", ".join(str(division.id) for division in snapshot.divisions) or "none"
        raise SaruError(f"the daemon has no id {id_}; it has {known}")
    if as_json:
        from saru.json_text import json_text

        click.echo(
            json_text(Blocks(cluster=snapshot.cluster, node=snapshot.node, divisions=tuple(shown)))
        )
    else:
        from rich.console import Console

        from saru.status import blocks_view

        console = Console(highlight=False)
        for division in shown:
            blocks_view.show(division, console)
