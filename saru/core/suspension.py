# SPDX-License-Identifier: GPL-2.0-or-later
"""From a node to its state, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saru.core.peer import Peer
from saru.core.state import State

if TYPE_CHECKING:
    from saru.core.coordinator import Coordinator


def capture(core: Coordinator, now: int) -> State:
    """All that `core` must know to go on, once it says and does nothing more."""
    claims_since, rivals = core.rivals.state()
    return State(
        node=core.node,
        settings=core.admission.digest,
        at=now,
        start=core.start,
        session=core.session,
        share=core.share,
        able=core.able,
        lease=core.lease,
        dropping=core.dropping,
        reach=core.yielding.reach,
        yields=core.yielding.yields,
        seq=core.seq,
        sent=core.sent.state(),
        term=core.term,
        role=core.role,
        counter=core.office.counter,
        peers=tuple(peer.state() for peer in core.peers.values()),
        holdings=tuple(holding.state() for holding in core.holdings.values()),
        promises=core.voter.promises.state(),
        allocations=core.library.needed(core.term),
        claims_since=claims_since,
        rivals=rivals,
    )


def restore(core: Coordinator, state: State, now: int) -> None:
    """Put `state` into a new node of the same name, incarnation and start."""
    core.session, core.able, core.lease = state.session, state.able, state.lease
    core.share, core.weight = state.share, state.share.effective
    core.yielding.reach, core.yielding.yields = state.reach, state.yields
    core.seq, core.seen = state.seq, now
    core.former = not core.waited(state.at)
    core.sent.restore(state.sent)
    core.office.restore(state.term, state.role, state.counter)
    core.voter.promises.restore(state.promises)
    core.rivals.restore(state.claims_since, state.rivals, now)
    for known in state.peers:
        core.peers.setdefault(known.name, Peer(known.name)).restore(known)
    for table in state.holdings:
        core.holdings[table.id].restore(table)
    for allocation in state.allocations:
        core.library.add(allocation)
    core.library.report(core.node, (holding.report() for holding in core.holdings.values()))
    for peer in core.peers.values():
        if peer.beat is not None:
            core.library.report(peer.name, peer.beat.reports)
    core.listen_again(now)  # what the others said meanwhile is lost, however short it was
