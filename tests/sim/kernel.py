# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel's table as the simulation sees it: the module's, and that of nftables."""

from __future__ import annotations

from collections.abc import Callable

from saru.core.term import Version
from saru.dataplane.bounds import Clocks, bounds

MS = 1_000_000  # ns

Clock = Callable[[], int]


class Kernel:
    """One id's table as xt_saru keeps it; `clock` tells the node's boot-time clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.version: Version | None = None
        self.held = 0
        self.deadline = 0

    def accepts(self) -> int:
        """The bitmap of blocks accepted at this moment."""
        return self.held if self.version and self._clock() < self.deadline else 0

    def excused(self) -> bool:
        """Whether it accepts past its deadline, and is known to."""
        return False

    def read(self) -> Clocks | None:
        """What is computed before an order is on its way: for the module, nothing."""
        return None

    def set(self, version: Version, held: int, deadline: int, clocks: Clocks | None = None) -> bool:
        """Replace the table; False is ESTALE. `clocks` are those of `read`."""
        if self.version is not None:
            if version < self.version:
                return False
            if version == self.version and (self._clock() >= self.deadline or held & ~self.held):
                return False
        self.version, self.held, self.deadline = version, held, deadline
        self._arm(clocks)
        return True

    def renew(self, version: Version, deadline: int, clocks: Clocks | None = None) -> bool:
        """Move the deadline; False is ESTALE."""
        if version != self.version or self._clock() >= self.deadline:
            return False
        self.deadline = deadline
        self._arm(clocks)
        return True

    def _arm(self, clocks: Clocks | None) -> None:
        """The deadline is given to the kernel at this moment."""

    def delete(self) -> None:
        """Forget the table."""
        self.version, self.held, self.deadline = None, 0, 0


class Nftables(Kernel):
    """One id's table as sets of nftables keep it: by two times, of which neither is the deadline.

    A length runs from the moment at which the kernel takes it, an end is by the wall clock. What is
    handed to it is computed by the program's own function. A renewal that the kernel takes too late
    is refused here; the program undoes it, a moment later.
    """

    def __init__(self, clock: Clock, wall: Clock) -> None:
        super().__init__(clock)
        self._wall = wall
        self.ends = 0  # of the lease's element, by the boot-time clock
        self.until = 0  # by the wall clock
        self._computed = Clocks(0, 0)
        self._taken = 0  # when the kernel took it, by the boot-time clock

    def read(self) -> Clocks:
        """Both clocks, as they are when what the kernel is to be told is computed."""
        return Clocks(self._wall(), self._clock())

    def _arm(self, clocks: Clocks | None) -> None:
        self._taken = self._clock()
        self._computed = clocks or self.read()
        told = bounds(self.deadline, self._computed)
        self.ends = self._taken + told.timeout * MS
        self.until = told.until

    def accepts(self) -> int:
        """A packet must meet both."""
        alive = self.version and self._clock() < self.ends and self._wall() < self.until
        return self.held if alive else 0

    def excused(self) -> bool:
        """What remains, `saru.dataplane.nftables`: the smaller of two errors, if both are there.

        That is how long it took from computing to the kernel's taking it, a pause perhaps, and by
        how much the wall clock has been set back since.
        """
        now = self._clock()
        paused = self._taken - self._computed.boot
        back = (self._computed.real - self._computed.boot) - (self._wall() - now)
        return self.deadline <= now < self.deadline + min(paused, back)
