# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel's table as the simulation sees it."""

from __future__ import annotations

from collections.abc import Callable

from saru.core.term import Version


class Kernel:
    """One id's table as xt_saru keeps it; `clock` tells the node's boot-time clock."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.version: Version | None = None
        self.held = 0
        self.deadline = 0

    def accepts(self) -> int:
        """The bitmap of blocks accepted at this moment."""
        return self.held if self.version and self._clock() < self.deadline else 0

    def set(self, version: Version, held: int, deadline: int) -> bool:
        """Replace the table; False is ESTALE."""
        if self.version is not None:
            if version < self.version:
                return False
            if version == self.version and (self._clock() >= self.deadline or held & ~self.held):
                return False
        self.version, self.held, self.deadline = version, held, deadline
        return True

    def renew(self, version: Version, deadline: int) -> bool:
        """Move the deadline; False is ESTALE."""
        if version != self.version or self._clock() >= self.deadline:
            return False
        self.deadline = deadline
        return True

    def delete(self) -> None:
        """Forget the table."""
        self.version, self.held, self.deadline = None, 0, 0
