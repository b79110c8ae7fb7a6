# SPDX-License-Identifier: GPL-2.0-or-later
"""What directors keep in ZooKeeper for each other.

Sessions and terms are named by zxids, which never come twice and only grow: a director's session by
the czxid of its own ephemeral node, a master's term by that of its election node.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from saru.core.beat import Allocation
from saru.core.reach import Reach
from saru.core.share import Share
from saru.core.term import Session, Term, Version

ABSENT = -1
"""The version of a znode that does not exist."""


class Holds(msgspec.Struct, frozen=True, array_like=True):
    """What a director's kernel holds for one id, by which version: its bitmaps themselves.

    `held` is what version `taken` gave; `coming` what version `taking`, on its way into the kernel,
    gives: both may be held already. So nobody needs to know what an older version named.
    """

    id: int
    taken: Version | None
    held: bytes
    taking: Version | None
    coming: bytes


class Account(msgspec.Struct, frozen=True, array_like=True):
    """What a director says of itself: znode `reports/NAME`, ephemeral, written on change only.

    `session` is (czxid of `directors/NAME`, number); `seq` grows with each account that a daemon
    writes. By naming `term` the director says that it takes nothing of a lower one any more.
    `leased`: it had a lease when it wrote this. The others as in a beat.
    """

    node: str
    session: Session
    seq: int
    term: Term | None
    leased: bool
    able: bool
    joined: bool
    left: bool
    weight: int
    share: Share
    reach: Reach | None
    holds: tuple[Holds, ...]


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A director that may come to hold blocks by an allocation, or has a say in the fail-safe.

    `since` is the version since which each has named `node`, without a break. `lower` is the oldest
    version by which `session` can be holding blocks.
    """

    node: str
    session: Session
    since: Version
    lower: Version


class Document(msgspec.Struct, frozen=True, array_like=True):
    """Znode `allocations/ID`: the newest allocation of an id, and whom it binds, by name.

    `members` are in the order of names. `company` is the newest version, this one perhaps, that
    names more than one. `lease` is the L (ns) of the cluster that made it.
    """

    allocation: Allocation
    members: tuple[Member, ...]
    company: Version | None
    lease: int

    @property
    def version(self) -> Version:
        """The allocation's."""
        return self.allocation.version

    def member(self, node: str) -> Member | None:
        """The member of that name."""
        return next((member for member in self.members if member.node == node), None)


class Reign(msgspec.Struct, frozen=True, array_like=True):
    """Znode `master`: the newest term, and whose it is."""

    term: Term
    node: str


class Roll(msgspec.Struct, frozen=True):
    """Who is registered: the czxid of each child of `directors`, at some moment.

    `zxid` is that of the newest change among the children that the list of names shows (pzxid of
    `directors`, from the stat that came with the list).
    """

    zxid: int
    directors: Mapping[str, int]


def term_of(czxid: int) -> Term:
    """The term whose master's election node has that czxid: the same 64 bits."""
    return Term.unpacked(czxid)
