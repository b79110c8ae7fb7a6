# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a cluster's znodes are.

ROOT/CLUSTER/settings       what all directors must have in common
             directors/     one ephemeral znode for each director: its session
             reports/       what each says of itself: ephemeral too
             election/      kazoo's lock: whoever is first is master
             master         the newest term, and whose it is
             allocations/   one for each id: who holds which block
             moved/         who has come from heartbeat, or was never there
             orders/        what an operator asks of a director, at another one
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")


class Places:
    """The paths of one cluster's znodes."""

    def __init__(self, root: str, cluster: str) -> None:
        self.base = f"{root}/{cluster}"
        self.settings = f"{self.base}/settings"
        self.directors = f"{self.base}/directors"
        self.reports = f"{self.base}/reports"
        self.election = f"{self.base}/election"
        self.master = f"{self.base}/master"
        self.allocations = f"{self.base}/allocations"
        self.moved = f"{self.base}/moved"
        self.orders = f"{self.base}/orders"

    def lasting(self) -> tuple[str, ...]:
        """The znodes that are always there: without data, but with others below them."""
        return (
            *(self.base, self.directors, self.reports, self.election),
            *(self.allocations, self.moved, self.orders),
        )


def mark() -> bytes:
    """What tells the tables of this host from others': 16 characters, another one after a boot.

    A director's znode that carries it is of an earlier daemon over the same tables, which are
    empty when it is looked at (R8). One that does not may be of a host with the same name.
    """
    network = os.stat(_NETWORK)
    told = f"{_BOOT.read_text().strip()} {network.st_dev} {network.st_ino}"
    return hashlib.sha256(told.encode()).hexdigest()[:16].encode()
