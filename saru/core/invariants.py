# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be true at every moment; a breach is a bug, and stops the daemon before it harms."""

from __future__ import annotations

from collections.abc import Mapping

from saru.core.beat import Allocation


class InvariantError(AssertionError):
    """Something that cannot be has happened."""


def never_two(held: Mapping[str, int]) -> None:
    """No block is held by two: `held` is the bitmap that each director's kernel accepts now."""
    seen: dict[str, int] = {}
    for node, bitmap in held.items():
        for other, theirs in seen.items():
            if both := bitmap & theirs:
                block = (both & -both).bit_length() - 1
                raise InvariantError(
                    f"block {block} and {both.bit_count() - 1} more: {other} and {node} accept them"
                )
        seen[node] = bitmap


def well_formed(allocation: Allocation, blocks: int) -> None:
    """The grants are disjoint, in the order of their names, and within the id's blocks."""
    never_two({grant.node: grant.bitmap() for grant in allocation.grants})
    names = [grant.node for grant in allocation.grants]
    if names != sorted(set(names)):
        raise InvariantError(f"allocation {allocation.version}: grants are out of order")
    if any(grant.bitmap() >> blocks for grant in allocation.grants):
        raise InvariantError(f"allocation {allocation.version}: a block beyond {blocks - 1}")
