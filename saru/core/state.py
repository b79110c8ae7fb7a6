# SPDX-License-Identifier: GPL-2.0-or-later
"""All that a node knows, at a moment at which it says nothing more: what a pause must outlast.

A node that goes on from its state is one that was stopped for a while and then continued: the same
incarnation and session, the same promises, nothing said twice. That holds however long it took, as
long as the clock is the same (one boot) and nobody has gone on from this state before. What the
rules make of a long silence (R3) they make of this one.
"""

from __future__ import annotations

import msgspec

from saru.core.beat import Allocation, Beat, Role
from saru.core.reach import Reach
from saru.core.share import Share
from saru.core.term import Session, Term, Version


class PeerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node knows of another; see `Peer` for the meaning."""

    name: str
    beat: Beat | None
    received: int
    back_since: int
    named: int | None
    good_until: int
    vouched_at: int | None
    in_term_since: int | None


class HoldingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One id's table; see `Holding`. Nothing is on its way into the kernel. `held` is a bitmap."""

    id: int
    taken: Version | None
    held: bytes
    table: Version | None
    deadline: int

    def bitmap(self) -> int:
        """The blocks held as a number: block b is bit b."""
        return int.from_bytes(self.held, "little")


class PromiseState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A promise not to vouch for `node` up to `session`, before `until` (R6)."""

    node: str
    session: Session
    until: int


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node's state `at` a moment. Times are ns of CLOCK_BOOTTIME, and mean nothing after a boot.

    `settings` is the digest of the settings that all must share. `sent` has the sequence numbers
    and times of the beats that others may still name, the newest last. `counter` is the highest
    term counter seen. `dropping`: the tables are not known to be deleted yet. `rivals`: the newest
    beats of those that are refused.
    """

    node: str
    settings: bytes
    at: int
    start: int
    session: Session
    share: Share
    able: bool
    lease: int
    dropping: bool
    reach: Reach | None
    yields: bool
    seq: int
    sent: tuple[tuple[int, int], ...]
    term: Term | None
    role: Role
    counter: int
    peers: tuple[PeerState, ...]
    holdings: tuple[HoldingState, ...]
    promises: tuple[PromiseState, ...]
    allocations: tuple[Allocation, ...]
    claims_since: int | None
    rivals: tuple[Beat, ...]
