# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node's next beat would say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saru.core.beat import Ask, Beat

if TYPE_CHECKING:
    from saru.core.coordinator import Coordinator


def compose(core: Coordinator, seq: int, asks: tuple[Ask, ...], now: int) -> Beat:
    """The state of `core` at `now`, as its beat `seq`; `asks` are those of its term's master."""
    return Beat(
        node=core.node,
        session=core.session,
        seq=seq,
        settings=core.admission.digest,
        term=core.term,
        role=core.role,
        hears=core.hears(now),
        waited=core.waited(now),
        joined=core.joined(now),
        able=core.able,
        left=core.left,
        weight=core.offered,
        lease_left=max(0, core.lease - now),
        heard=core.voter.heard(core.term, asks, now),
        asks=asks if core.mastership else (),
        promises=core.voter.promised(core.master(), now),
        reports=tuple(holding.report() for holding in core.holdings.values()),
        offers=tuple(
            offer
            for division in core.settings.divisions
            if (offer := core.library.offer(division.id, core.term)) is not None
        ),
        wants=core.mastership.wants() if core.mastership else (),
        share=core.share,
        reach=core.yielding.reach,
        yields=core.yielding.yields,
        claim=core.claim(now),
        deadtime=core.longest,
        wait_left=core.voter.wait_left(now),
    )
