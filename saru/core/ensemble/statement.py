# SPDX-License-Identifier: GPL-2.0-or-later
"""What a director's next account would say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saru.core.blocks import bitmap_to_bytes
from saru.core.ensemble.record import Account, Holds

if TYPE_CHECKING:
    from saru.core.ensemble.coordinator import EnsembleCoordinator


def compose(core: EnsembleCoordinator, now: int) -> Account:
    """The state of `core` at `now`, but for the number of the account.

    While its tables are being deleted there is nothing to say of them.
    """
    blocks = {division.id: division.blocks for division in core.settings.divisions}
    holds = tuple(
        Holds(
            id=holding.id,
            taken=holding.taken,
            held=bitmap_to_bytes(holding.held, blocks[holding.id]),
            taking=holding.taking,
            coming=bitmap_to_bytes(holding.coming, blocks[holding.id]),
        )
        for holding in core.holdings.values()
    )
    return Account(
        node=core.node,
        session=core.session,
        seq=0,
        term=core.term,
        leased=core.leased(now),
        able=core.able,
        joined=core.joined(now),
        left=core.left,
        weight=core.offered,
        share=core.share,
        reach=core.yielding.reach,
        holds=() if core.dropping else holds,
    )
