# SPDX-License-Identifier: GPL-2.0-or-later
"""What the hand-written runs have in common."""

from __future__ import annotations

from saru.core.beat import Allocation, Beat, Message
from saru.core.invariants import InvariantError
from tests.unit.cores import DEADTIME, EVERYTHING, MS, Link

SLOW = 0.995


def weigh(link: Link, node: str, weight: int) -> None:
    """Give a director another weight."""
    link[node].do(lambda core: core.weigh(weight, link[node].clock()))


def flap(link: Link, node: str) -> None:
    """A director's rules go and are back at once: it has a new session."""
    host = link[node]
    host.do(lambda core: core.guard(False, "rules gone", host.clock()))
    host.do(lambda core: core.guard(True, "rules in place", host.clock()))


def catch(link: Link, receiver: str) -> list[Allocation]:
    """Hold back all allocations to `receiver` from now on."""
    caught: list[Allocation] = []

    def lost(_sender: str, to: str, message: Message) -> bool:
        if to == receiver and isinstance(message, Allocation):
            caught.append(message)
            return True
        return False

    link.lost = lost
    return caught


def gives_more(link: Link, node: str, caught: list[Allocation]) -> Allocation | None:
    """The first one caught that gives `node` blocks that it does not hold."""
    session = link[node].core.session
    for allocation in caught:
        if allocation.bitmap(node, session) & ~link[node].accepts():
            return allocation
    return None


def beats(link: Link, node: str) -> list[Beat]:
    """The beats that `node` has sent, whoever has heard them."""
    return [said for _, name, said in link.sent if name == node and isinstance(said, Beat)]


def names(link: Link, node: str, other: str) -> bool:
    """Whether the newest beat of `node` names one of `other`: it hears it."""
    return any(heard.node == other for heard in beats(link, node)[-1].heard)


def promised(link: Link, master: str, voter: str, node: str) -> bool:
    """Whether `master` has heard that `voter` promises not to vouch for `node`."""
    beat = link[master].core.peers[voter].beat
    return beat is not None and any(promise.node == node for promise in beat.promises)


def answers(link: Link, hearer: str, voter: str) -> list[int]:
    """The numbers of the master's beats that the voter's promises answer, as `hearer` knows."""
    beat = link[hearer].core.peers[voter].beat
    return [promise.seq for promise in beat.promises] if beat is not None else []


def soon(link: Link, limit: int) -> None:
    """Raise an InvariantError if not every block is held again within `limit`."""
    end = link.now + limit
    while link.held() != EVERYTHING:
        if link.now >= end:
            raise InvariantError(f"blocks stay unheld: {link.held():#x} is all that is held")
        link.run(MS)


def served(link: Link) -> None:
    """Raise an InvariantError if blocks stay unheld, or somebody who could hold some has none."""
    link.run(8 * DEADTIME)
    for _ in range(16):
        link.run(DEADTIME // 4)
        if link.held() != EVERYTHING:
            raise InvariantError(f"blocks stay unheld: {link.held():#x} is all that is held")
