# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that are never used twice: sessions, terms and versions.

All three are ordered and only grow. They are what makes late and repeated messages harmless.
"""

from __future__ import annotations

import msgspec

COUNTER_MAX = 2**32 - 1
PLACE_MAX = 2**8 - 1
INCARNATION_MAX = 2**24 - 1
SERIAL_MAX = 2**64 - 1


class Session(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One life of a director without a lapse.

    `incarnation` (1 to 2**24 - 1) grows with every start of the daemon, `number` with every lapse.
    """

    incarnation: int
    number: int

    def next(self) -> Session:
        """The session after a lapse."""
        return Session(self.incarnation, self.number + 1)

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.number}"


NEVER = Session(0, 0)  # the session of a node that nobody has heard


class Term(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One candidacy. No two are alike: a place among the voters stands once per counter and life.

    `counter` is 32 bits wide, `place` 8, `incarnation` (the candidate's) 24.
    """

    counter: int
    place: int
    incarnation: int

    def packed(self) -> int:
        """The 64-bit number that the kernel keeps; it orders as terms do."""
        return self.counter << 32 | self.place << 24 | self.incarnation

    @classmethod
    def unpacked(cls, number: int) -> Term:
        """The term of a 64-bit number from the kernel."""
        return cls(number >> 32, number >> 24 & PLACE_MAX, number & INCARNATION_MAX)

    def __str__(self) -> str:
        return f"{self.counter}.{self.place}.{self.incarnation}"


class Version(msgspec.Struct, frozen=True, order=True, array_like=True):
    """An allocation's version: the term of the master that made it, and its running number."""

    term: Term
    serial: int

    def __str__(self) -> str:
        return f"{self.term}/{self.serial}"
