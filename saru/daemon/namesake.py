# SPDX-License-Identifier: GPL-2.0-or-later
"""Another daemon under this one's name: while it is heard, this one holds nothing."""

from __future__ import annotations

from collections.abc import Callable


class Namesake:
    """Whether there is one, and so whether the core may hold blocks.

    To all others two daemons of one name are one: each takes the vouches and the grants of both for
    its own, so both would accept the same blocks. Whichever hears the other lets go, as it does
    without its rules. What the guard says of these comes through here on its way to the core, by
    `allow`. A namesake is there until nothing has come of it for `silence`; times are the core's.
    """

    def __init__(self, name: str, silence: int, allow: Callable[[bool, str], None]) -> None:
        self.address = ""  # from which it was heard last; empty: there is none
        self._name = name
        self._silence = silence
        self._allow = allow
        self._heard = 0
        self._ok = False
        self._why = ""

    def guarded(self, ok: bool, why: str) -> None:
        """The rules are in place, or are not."""
        self._ok, self._why = ok, why
        if not self.address:
            self._allow(ok, why)

    def heard(self, address: str, now: int) -> None:
        """It has spoken, from this address."""
        self._heard, self.address = now, address
        self._allow(False, f"another daemon called {self._name} is heard from {address}")

    def tick(self, now: int) -> None:
        """Time has passed."""
        if self.address and now >= self._heard + self._silence:
            self.address = ""
            self._allow(self._ok, self._why)
