# SPDX-License-Identifier: GPL-2.0-or-later
"""R2: how long a director may hold what it holds."""

from __future__ import annotations

from collections.abc import Iterable

from saru.core.settings import Quorum, Settings


def quorum(settings: Settings, voters: int) -> int:
    """How many of the voters must agree: a majority of them, or one where there is no quorum."""
    return voters // 2 + 1 if settings.quorum is Quorum.MAJORITY else 1


def lease_until(needed: int, own: bool, good_until: Iterable[int], own_beat: int | None) -> int:
    """When the lease ends, in ns of the node's clock; 0 if there is none.

    `needed` is the quorum, `own` whether the node's own vouch counts (it is in a term), and
    `good_until` holds, for every other voter, until when its newest vouch is good. The own vouch
    counts as the latest; where it alone is enough, the lease runs from the node's newest beat,
    whose sending time plus L is `own_beat`: a daemon that hangs still lets go.
    """
    if own:
        needed -= 1
    if needed == 0:
        return own_beat or 0
    ranked = sorted(good_until, reverse=True)
    return ranked[needed - 1] if len(ranked) >= needed else 0
