# SPDX-License-Identifier: GPL-2.0-or-later
"""Which data plane this host has, where the configuration leaves it open."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from saru.config.tree import Config, DataplaneKind
from saru.dataplane import Dataplane

LOADED = Path("/sys/module/xt_saru")


def chosen(kind: DataplaneKind) -> tuple[DataplaneKind, str]:
    """MODULE or NFTABLES, and why, to be read after "because"."""
    if kind is not DataplaneKind.AUTO:
        return kind, f'director.dataplane is "{kind}"'
    if LOADED.exists():
        return DataplaneKind.MODULE, "the kernel module xt_saru is loaded"
    return DataplaneKind.NFTABLES, "the kernel module xt_saru is not loaded"


def fixed(config: Config) -> tuple[Config, str]:
    """The configuration with what `chosen` names in place of AUTO, and why.

    For a daemon's life: a module that is loaded while it runs on nftables must not have its guard
    put in rules for a data plane that it does not use.
    """
    kind, why = chosen(config.director.dataplane)
    director = structs.replace(config.director, dataplane=kind)
    return structs.replace(config, director=director), why


def made(kind: DataplaneKind, mark: Path | None = None) -> Dataplane:
    """The data plane that `chosen` names for this kind; not opened yet.

    `mark` is a file by which a daemon may have the kernel hurry (`saru.dataplane.hurry`).
    """
    if chosen(kind)[0] is DataplaneKind.MODULE:
        from saru.dataplane.module import Module

        return Module()
    from saru.dataplane.nftables import Nftables

    return Nftables(mark=mark)
