# SPDX-License-Identifier: GPL-2.0-or-later
"""R4: when a node follows a term, stands as candidate, and is master."""

from __future__ import annotations

from collections.abc import Iterable

from saru.core.beat import Role
from saru.core.peer import Peer
from saru.core.settings import Settings
from saru.core.term import Term


def master_of(term: Term | None, peers: Iterable[Peer]) -> Peer | None:
    """The peer whose newest beat shows it as master of `term`."""
    if term is None:
        return None
    for peer in peers:
        # The role first: there is hardly more than one, and terms take longer to compare.
        beat = peer.beat
        if beat is not None and beat.role is Role.MASTER and beat.term == term:
            return peer
    return None


def higher_term(term: Term | None, contacts: Iterable[Peer]) -> Term | None:
    """The highest term above `term` among the newest beats of nodes in contact."""
    terms = [p.beat.term for p in contacts if p.beat is not None and p.beat.term is not None]
    best = max(terms, default=None)
    return best if best is not None and (term is None or best > term) else None


def in_term(term: Term, contacts: Iterable[Peer]) -> int:
    """How many of the nodes in contact are past their start-up wait and in `term`."""
    return sum(p.beat is not None and p.beat.waited and p.beat.term == term for p in contacts)


def unled(contacts: Iterable[Peer]) -> list[str]:
    """The nodes in contact, past their start-up wait, that say they do not hear a master."""
    return [p.name for p in contacts if p.beat is not None and p.beat.waited and not p.beat.hears]


class Candidacy:
    """When this node may stand: the first by name at once, the others a little later each.

    The little is half a `keepalive`: time for the first one's candidacy to arrive.
    """

    def __init__(self, settings: Settings) -> None:
        self._step = settings.keepalive // 2
        self._since: int | None = None
        self._not_before = 0

    def followed(self, now: int) -> None:
        """A higher term was followed: give its candidate the time to become master, and to say so.

        That is a whole `keepalive`: the candidate hears of it, and is heard as master.
        """
        self._since = None
        self._not_before = now + 2 * self._step

    def due(self, now: int, may: bool, rank: int) -> int | None:
        """When to stand; None while not enough voters are without a master (`may`)."""
        if not may:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        return max(self._since, self._not_before) + rank * self._step
