# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, one module each, imported when they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from saru.config import Config

F = TypeVar("F", bound=Callable[..., Any])

HOURS_MAX = 24  # more would not fit into all the clocks that it goes through


def with_config(command: F) -> F:
    """Give a command the option --config and the argument `config`, the Config that is meant.

    `saru --config FILE status` and `saru status --config FILE` are the same.
    """
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=_load,
        help="The configuration (default: /etc/saru/saru.conf).",
    )(command)


def time_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A callback: a length of time such as 5s or 400ms in ns, more than 0, a day at most."""
    from saru.config import duration

    if value is None:
        return None
    try:
        ns = duration.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not ns:
        raise click.BadParameter(f"{value!r} is no time at all")
    if ns > HOURS_MAX * duration.HOUR:
        raise click.BadParameter(f"{value!r} is too long; write {HOURS_MAX}h at most")
    return ns


def await_end(config: Config, timeout: int) -> None:
    """Wait until the daemon of this host has given its lock back, `timeout` ns at most."""
    import time

    from saru.config import duration
    from saru.daemon import lock
    from saru.errors import SaruError

    end = time.monotonic_ns() + timeout
    while any(owner.cluster == config.cluster.name for owner in lock.owners(config.daemon.run)):
        if time.monotonic_ns() > end:
            raise SaruError(f"after {duration.text(timeout)}: the daemon has not ended yet")
        time.sleep(lock.PAUSE)


def _load(ctx: click.Context, _: click.Parameter, path: Path | None) -> Config:
    from saru import config

    return config.load(path or ctx.find_root().params.get("config"))
