# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru config`: check a configuration without running anything."""

from __future__ import annotations

from pathlib import Path

import click

from saru.errors import ConfigError


@click.group()
def config() -> None:
    """Check a configuration file."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_context
def check(ctx: click.Context, file: Path | None) -> None:
    """Print every error of a configuration, each with its key and the mend.

    Without FILE: the configuration that the daemon would read.
    """
    from saru.config import authkeys, load

    errors: list[str] = []
    try:
        checked = load(file or ctx.find_root().params.get("config"))
        authkeys.load(checked.heartbeat.authkeys)
    except ConfigError as error:
        errors.extend(error.errors)
    if errors:
        raise ConfigError(errors)
    for warning in (*checked.warnings, *checked.caveats()):
        click.echo(f"warning: {warning}")
    click.echo(f"{checked.path or 'the defaults'}: no errors")
