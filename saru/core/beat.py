# SPDX-License-Identifier: GPL-2.0-or-later
"""What directors tell each other.

A beat carries its sender's whole state, so a lost, doubled or late one does no harm. Only an
allocation's contents travel apart from it: the beat names allocations by version and digest, and
one goes out in full to those who lack it.
"""

from __future__ import annotations

import enum
import hashlib

import msgspec

from saru.core.reach import Reach
from saru.core.share import Share
from saru.core.term import Session, Term, Version


class Role(enum.IntEnum):
    """What a voter is in its term."""

    FOLLOWER = 0
    CANDIDATE = 1
    MASTER = 2
    RESIGNED = 3  # was the term's candidate or master and is so no more


class Claim(enum.IntEnum):
    """How a node stands to blocks, for those that refuse it because their settings differ."""

    NOTHING = 0
    GIVES_WAY = 1  # it would have blocks, and leaves them to whom it refuses
    FORMER = 2  # it has just started: a life before may have left blocks to their deadline
    WAITS = 3  # it claims blocks, and waits until whom it refuses has heard of that
    CLAIMS = 4  # it may take blocks
    HOLDS = 5


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """The newest beat of `node` that the sender has, and whether the sender vouches for it (R1)."""

    node: str
    session: Session
    seq: int
    vouch: bool


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """The master asks the others to fence `node` (R6); `session` is the newest it knows of."""

    node: str
    session: Session


class Promise(msgspec.Struct, frozen=True, array_like=True):
    """In answer to the master's `seq`: no vouch for `node` up to `session` for now (R6)."""

    node: str
    session: Session
    seq: int


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What the sender's kernel holds for one id.

    It holds what version `taken` names for the sender's session; nothing if that is None. A
    version in `taking` is on its way into the kernel: its blocks may be held already.
    """

    id: int
    taken: Version | None
    taking: Version | None


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """The newest allocation of an id that the sender has: the master's is the one that counts."""

    id: int
    version: Version
    digest: bytes  # 8 bytes


class Want(msgspec.Struct, frozen=True, array_like=True):
    """An allocation that somebody reports to hold and the sender lacks."""

    id: int
    version: Version


class KeyMark(msgspec.Struct, frozen=True, array_like=True):
    """A key that the sender accepts: its number, and 4 bytes by which its secret can be told."""

    number: int
    mark: bytes


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """One director's state at the moment of sending.

    `seq` grows with every beat of an incarnation. `settings` is the concatenation of a 4-byte
    digest per cluster setting; beats that differ in it are refused, by setting. `hears`: the
    sender hears the master of its term. `waited`: it is past its start-up wait (R8). `joined`: past
    `join_delay` too. `able`: its rules are in place and it may hold blocks. `left`: it holds
    nothing and never will again in this incarnation. `weight` is the one that counts now, `share`
    what the operator has said. `lease_left` is in ns, 0 without a lease. `keys` are added on the
    way out. `yields`: it gives way to directors that reach more ping nodes. `claim` and `deadtime`,
    its L, are for those that refuse it. `wait_left` is what is left of the start-up wait, in ns.
    """

    node: str
    session: Session
    seq: int
    settings: bytes
    term: Term | None
    role: Role
    hears: bool
    waited: bool
    joined: bool
    able: bool
    left: bool
    weight: int
    lease_left: int
    heard: tuple[Heard, ...]
    asks: tuple[Ask, ...]
    promises: tuple[Promise, ...]
    reports: tuple[Report, ...]
    offers: tuple[Offer, ...]
    wants: tuple[Want, ...]
    share: Share | None = None
    keys: tuple[KeyMark, ...] = ()
    reach: Reach | None = None
    yields: bool = False
    claim: Claim = Claim.NOTHING
    deadtime: int = 0
    wait_left: int = 0

    def newer(self, other: Beat) -> bool:
        """Whether it was sent after that one, by the same node."""
        ours, theirs = self.session.incarnation, other.session.incarnation
        return (ours, self.seq) > (theirs, other.seq)

    def gist(self) -> object:
        """What of a beat somebody may be waiting for: a change in it goes out at once.

        Nobody waits for a version that is offered or being taken, only for one that has been taken.
        `claim` follows from the lease, the weight and what has been taken.
        """
        return (
            self.session,
            (self.term, self.role, self.hears, self.waited, self.joined, self.able, self.left),
            (self.weight, self.share, self.yields, self.lease_left > 0),
            tuple((h.node, h.session, h.vouch) for h in self.heard),
            self.asks,
            tuple((p.node, p.session) for p in self.promises),
            tuple((r.id, r.taken) for r in self.reports),
            self.wants,
        )


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """The blocks that an allocation names for one session of one director.

    `blocks` is a bitmap, little-endian: block b is bit b % 8 of byte b // 8.
    """

    node: str
    session: Session
    blocks: bytes

    def bitmap(self) -> int:
        """The blocks as a number: block b is bit b."""
        return int.from_bytes(self.blocks, "little")


class Allocation(msgspec.Struct, frozen=True, array_like=True):
    """Who holds which block, for one id; made by the master. Grants are in the order of names."""

    id: int
    version: Version
    grants: tuple[Grant, ...]

    def bitmap(self, node: str, session: Session) -> int:
        """The blocks named for exactly this session of `node` (R5)."""
        for grant in self.grants:
            if grant.node == node and grant.session == session:
                return grant.bitmap()
        return 0

    def digest(self) -> bytes:
        """8 bytes that two different allocations do not share."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).digest()[:8]


Message = Beat | Allocation
