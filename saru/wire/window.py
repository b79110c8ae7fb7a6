# SPDX-License-Identifier: GPL-2.0-or-later
"""Which datagrams of one life of a sender came before."""

from __future__ import annotations

WINDOW = 1024  # how far a part may be behind the newest datagram
_MASK = (1 << WINDOW) - 1


class Window:
    """Lets each datagram pass once, by its sequence number."""

    def __init__(self) -> None:
        self._newest = 0  # the highest sequence number
        self._newest_beat = 0
        self._seen = 1  # bit i: newest - i came; there is no datagram 0

    def refuses(self, sequence: int, beat: bool) -> str:
        """Let a signed datagram pass once; else the counter of what is wrong with it."""
        behind = self._newest - sequence
        if behind >= WINDOW:
            return "late"
        if behind >= 0:
            if self._seen >> behind & 1:
                return "duplicate"
            self._seen |= 1 << behind
        else:
            ahead = min(-behind, WINDOW)
            self._seen = (self._seen << ahead | 1) & _MASK
            self._newest = sequence
        if beat:
            if sequence < self._newest_beat:
                return "overtaken"
            self._newest_beat = sequence
        return ""
