# SPDX-License-Identifier: GPL-2.0-or-later
"""When beats are due that have nothing new to say: at even distances from each other.

A vouch for a beat comes with the next beats of others. Where nodes happen to send at about the same
time that takes nearly a `keepalive`; if one comes between any two, less. So every node keeps its
place behind the master, by their order in `nodes`.
"""

from __future__ import annotations

from saru.core.settings import Settings

MASTERS_HASTE = 32
"""A master's beats come sooner by such a part of `keepalive`: more than clocks may differ by."""


class Pace:
    """The moments at which one node beats. Times are its own clock."""

    def __init__(self, settings: Settings, node: str) -> None:
        self._nodes, self._keepalive = settings.nodes, settings.keepalive
        self._node = node
        self._heard = 0  # when the beat of the master's came that
        self._turn = 0  # this is at its distance from

    def hear(self, master: str, now: int) -> bool:
        """A beat of the master's has come; whether this node's turn is another one by that."""
        between = now < self._heard + 3 * self._keepalive // 4  # it had something to say
        if between or not {master, self._node} <= set(self._nodes):
            return False
        place = (self._nodes.index(self._node) - self._nodes.index(master)) % len(self._nodes)
        self._heard, self._turn = now, now + self._keepalive * place // len(self._nodes)
        return True

    def due(self, sent: int) -> int:
        """When the beat after one of `sent` is due: at this node's turn, if it is not too soon."""
        latest = sent + self._keepalive
        soon = sent + self._keepalive // 4
        return self._turn if soon <= self._turn < latest else latest

    def masters_due(self, due: int, now: int) -> int:
        """When a master's next beat is due after one that was due at `due` and is sent now.

        A little more often than the others': they keep their distance from its beats by sending
        theirs sooner, never later, whatever their clocks and its late timers.
        """
        return max(
            due + self._keepalive - self._keepalive // MASTERS_HASTE, now + self._keepalive // 2
        )
