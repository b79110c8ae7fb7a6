# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose beats count: of nodes that have the same settings, and are among the voters."""

from __future__ import annotations

from collections.abc import Callable

from saru.core.action import Change
from saru.core.beat import Beat
from saru.core.settings import Settings, differing


class Admission:
    """`refused` has, by node, the settings in which it differs. `tell` takes what is to be read."""

    def __init__(self, settings: Settings, tell: Callable[[Change, str, str, str], None]) -> None:
        self.digest = settings.digest()
        self.refused: dict[str, list[str]] = {}
        self._nodes = settings.nodes
        self._tell = tell

    def admits(self, beat: Beat) -> bool:
        """Whether `beat` counts; if it does not, its sender is refused, and that is told once."""
        keys = differing(self.digest, beat.settings)
        if self._nodes and beat.node not in self._nodes:
            keys = sorted({"cluster.nodes", *keys})
        if not keys:
            self.refused.pop(beat.node, None)
            return True
        if self.refused.get(beat.node) != keys:
            text = "refused: its settings differ in " + ", ".join(keys)
            self._tell(Change.REFUSED, beat.node, text, "make them the same in both")
        self.refused[beat.node] = keys
        return False
