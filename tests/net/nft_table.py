# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of the kernel that holds without end, for tests of what rules make of it."""

from __future__ import annotations

from collections.abc import Iterable

from saru.core.settings import Division
from saru.dataplane.layout import (
    FAMILY,
    TABLE,
    definitions,
    division_key,
    held_set,
    lease_set,
    until_set,
)

FAR = 4102444800  # the year 2100


def table_of(division: Division, blocks: Iterable[int]) -> str:
    """Commands for nft that make it so, whatever was there."""
    names = held_set(division.id), lease_set(division.id), until_set(division.id)
    key = division_key(division.blocks, division.seed)
    elements = ", ".join(map(str, blocks)), f"{key} timeout 1h", f"0-{FAR}"
    lines = [f"flush set {FAMILY} {TABLE} {name}" for name in names]
    lines += [
        f"add element {FAMILY} {TABLE} {name} {{ {some} }}"
        for name, some in zip(names, elements, strict=True)
        if some
    ]
    return definitions([division.id]) + "".join(f"{line}\n" for line in lines)
