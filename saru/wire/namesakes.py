# SPDX-License-Identifier: GPL-2.0-or-later
"""Other daemons that speak under this one's name: those of the newest incarnation heard."""

from __future__ import annotations

from saru.wire.window import Window

LIVES_MAX = 16


class Namesakes:
    """What came of them. A datagram counts once: replayed, it does not bring one back to life."""

    def __init__(self) -> None:
        self._incarnation = 0
        self._lives: dict[bytes, Window] = {}

    def hear(self, incarnation: int, life: bytes, sequence: int, beat: bool) -> str:
        """The counter for an authentic datagram: "namesake" if it proves that there is one now.

        Of several incarnations only the newest counts, as it does for everybody else.
        """
        if incarnation < self._incarnation:
            return "earlier_life"
        if incarnation > self._incarnation:
            self._incarnation = incarnation
            self._lives.clear()
        window = self._lives.get(life)
        if window is None:
            if len(self._lives) >= LIVES_MAX:
                return "namesake"  # one more that loses its state; whether replayed nobody can tell
            window = self._lives[life] = Window()
        return window.refuses(sequence, beat) or "namesake"
