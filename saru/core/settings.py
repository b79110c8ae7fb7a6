# SPDX-License-Identifier: GPL-2.0-or-later
"""What all directors of a cluster must agree on, as the core needs it. Times are in ns."""

from __future__ import annotations

import enum
import hashlib
import sys

import msgspec

RHO_PERCENT = 1  # how far clocks may drift


class Quorum(enum.StrEnum):
    """Who must be in contact for blocks to be held."""

    MAJORITY = "majority"
    NONE = "none"


class Membership(enum.StrEnum):
    """What tells the directors who is alive."""

    HEARTBEAT = "heartbeat"
    ZOOKEEPER = "zookeeper"


class Division(msgspec.Struct, frozen=True, array_like=True):
    """One division of the space of connections into blocks (`id` 1 to 65535)."""

    id: int
    blocks: int
    seed: int


class Settings(msgspec.Struct, frozen=True):
    """The cluster's settings. `nodes` are the voters, sorted; empty: those heard are the voters."""

    nodes: tuple[str, ...]
    witnesses: tuple[str, ...]
    quorum: Quorum
    keepalive: int
    deadtime: int
    initdead: int
    divisions: tuple[Division, ...]
    membership: Membership = Membership.HEARTBEAT
    failsafe: bool = False  # with ZooKeeper: keep blocks without it while all others agree
    # Each director's own; not part of the digest.
    join_delay: int = 0
    warntime: int = 0
    earlier_lease: int = 0
    """The L of settings that this node had before, and may have vouched by; 0: of none."""
    ping_settle: int = 0

    @property
    def lease(self) -> int:
        """L."""
        return self.deadtime

    @property
    def lease_plus(self) -> int:
        """L+ = L (1 + rho) / (1 - rho), rounded up."""
        return plus(self.deadtime)

    @property
    def start_wait(self) -> int:
        """How long R8's wait is: `initdead`, and L+ of earlier settings if that is longer.

        Who comes back with a shorter deadtime has vouched, for directors that still have the
        longer one, for longer than `initdead` is now.
        """
        return max(self.initdead, plus(self.earlier_lease))

    def digest(self) -> bytes:
        """A 4-byte digest for each of DIGESTED, in that order.

        The byte order is among the divisions: jhash reads words as the host does, so hosts that
        differ in it would not agree on a packet's block.
        """
        values = {key: getattr(self, key) for key in DIGESTED}
        values["divisions"] = (self.divisions, sys.byteorder)
        return b"".join(
            hashlib.sha256(msgspec.msgpack.encode((key, value))).digest()[:4]
            for key, value in values.items()
        )


# In the words of the configuration, so that both sides can say which key differs.
DIGESTED = (
    "nodes",
    "witnesses",
    "quorum",
    "keepalive",
    "deadtime",
    "initdead",
    "divisions",
    "membership",
    "failsafe",
)
KEYS = {
    "nodes": "cluster.nodes",
    "witnesses": "cluster.witnesses",
    "quorum": "cluster.quorum",
    "keepalive": "times.keepalive",
    "deadtime": "times.deadtime",
    "initdead": "times.initdead",
    "divisions": "id (id, blocks, seed; or the hosts' byte orders)",
    "membership": "cluster.membership",
    "failsafe": "zookeeper.failsafe",
}


def plus(lease: int) -> int:
    """L+ of an L: when so much has passed on one clock, L has passed on every other."""
    return -(-lease * (100 + RHO_PERCENT) // (100 - RHO_PERCENT))


def least(duration: int) -> int:
    """How much has passed here, at least, when `duration` has passed on some other clock."""
    return duration * (100 - RHO_PERCENT) // (100 + RHO_PERCENT)


def differing(ours: bytes, theirs: bytes) -> list[str]:
    """The configuration keys in which two digests differ."""
    return [KEYS[key] for key in DIGESTED if not same(key, ours, theirs)]


def same(key: str, ours: bytes, theirs: bytes) -> bool:
    """Whether two digests agree in one of DIGESTED; those of two releases agree in nothing."""
    place = 4 * DIGESTED.index(key)
    return len(ours) == len(theirs) and ours[place : place + 4] == theirs[place : place + 4]
