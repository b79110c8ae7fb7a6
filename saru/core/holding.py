# SPDX-License-Identifier: GPL-2.0-or-later
"""What this director's kernel holds for one id, and which versions it may take (R5, R7)."""

from __future__ import annotations

from saru.core.beat import Allocation, Report
from saru.core.state import HoldingState
from saru.core.term import Session, Term, Version


class Holding:
    """One id's table, as far as the kernel has confirmed it."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.taken: Version | None = None  # what the kernel accepts is this version's, confirmed
        self.held = 0  # its bitmap
        self.taking: Version | None = None  # on its way into the kernel
        self.table: Version | None = None  # what the kernel's table is called, or will be
        self._taking_held = 0
        self.deadline = 0  # the newest that the kernel was given

    def may_take(self, allocation: Allocation, term: Term | None) -> bool:
        """Only of exactly the own term, only newer than any taken, one at a time.

        A lapse begins anew: what came before names no later session, and gives it nothing.
        """
        if self.taking is not None or allocation.version.term != term:
            return False
        return self.taken is None or allocation.version > self.taken

    def take(
        self, allocation: Allocation, node: str, session: Session, deadline: int
    ) -> int | None:
        """Begin to take a version: the bitmap that the kernel shall accept, until `deadline`.

        None if it accepts just that already: then the version is taken, and the table keeps its
        older one. The kernel's time is for the blocks that move.
        """
        held = allocation.bitmap(node, session)
        if self.taken is not None and held == self.held:
            self.taken = allocation.version
            return None
        self.taking = self.table = allocation.version
        self._taking_held = held
        self.deadline = deadline
        return held

    def confirm(self, version: Version) -> tuple[int, int] | None:
        """The kernel has it: the bitmaps gained and lost; None if this was let go meanwhile."""
        if self.taking != version:
            return None
        before, self.held = self.held, self._taking_held
        self.taken, self.taking = version, None
        return self.held & ~before, before & ~self.held

    def let_go(self) -> int:
        """Hold nothing from now on; the bitmap of what may have been held."""
        lost = self.held | self.coming
        self.taken = self.taking = self.table = None
        self.held = self._taking_held = self.deadline = 0
        return lost

    @property
    def coming(self) -> int:
        """The bitmap on its way into the kernel; 0 if there is none."""
        return self._taking_held if self.taking else 0

    def state(self) -> HoldingState:
        """What must outlast a pause; nothing is on its way into the kernel."""
        held = self.held.to_bytes((self.held.bit_length() + 7) // 8, "little")
        return HoldingState(self.id, self.taken, held, self.table, self.deadline)

    def restore(self, state: HoldingState) -> None:
        """Go on after a pause."""
        self.taken, self.held, self.table = state.taken, state.bitmap(), state.table
        self.deadline = state.deadline

    def report(self) -> Report:
        """What the beats say of it."""
        return Report(self.id, self.taken, self.taking)
