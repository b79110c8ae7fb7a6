# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gives way to whom where settings differ and no majority decides it.

Nodes whose settings differ refuse each other, so there are two clusters. If both go by a majority,
only one of them can have it. If one goes without a quorum, nothing in R1 to R8 keeps both from
serving. So each looks at what the beats that it refuses claim, and a director

- lets go, without a quorum itself, when it hears a node that has a majority, or one without a
  quorum that holds blocks too and comes first by name;
- takes nothing, without a quorum itself, while it hears one that holds blocks, or one that claims
  some, as it does, and comes first by name;
- takes no first blocks, while it hears a node without a quorum, before it has claimed them for so
  long that this one must have heard it, and let go or given way.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from saru.core.beat import Beat, Claim
from saru.core.settings import Quorum, Settings, plus, same


class Barred(msgspec.Struct, frozen=True):
    """That a director shall hold no blocks now, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class Rival(msgspec.Struct, frozen=True):
    """A node that is refused: its newest beat, and when that came, or since when it may have."""

    beat: Beat
    heard: int


class Rivals:
    """The refused nodes that are heard, where the settings leave open who serves."""

    def __init__(self, settings: Settings, node: str) -> None:
        self.barred: Barred | None = None  # it takes nothing
        self.gives_way = False  # and keeps nothing
        self._settings = settings
        self._node = node
        self._digest = settings.digest()
        self._rivals: dict[str, Rival] = {}
        self._since: int | None = None  # since when its beats have claimed blocks, without a break

    # --- what is heard --------------------------------------------------------------------------

    def hear(self, beat: Beat, now: int) -> bool:
        """A beat of a refused node; whether that is the first of this life of its."""
        if Quorum.NONE not in (self._settings.quorum, self._quorum(beat)):
            return False
        old = self._rivals.get(beat.node)
        if old is not None and not beat.newer(old.beat):
            return False
        self._rivals[beat.node] = Rival(beat, now)
        return old is None or old.beat.session.incarnation != beat.session.incarnation

    def admitted(self, node: str) -> None:
        """A node has the same settings now."""
        self._rivals.pop(node, None)

    def listens_again(self, now: int) -> None:
        """This node was stopped for a while: what the others said is still to be read."""
        self._rivals = {name: Rival(r.beat, now) for name, r in self._rivals.items()}

    def _quorum(self, beat: Beat) -> Quorum:
        """The sender's rule: this node's own, or the only other one."""
        ours = self._settings.quorum
        if same("quorum", self._digest, beat.settings):
            return ours
        return Quorum.NONE if ours is Quorum.MAJORITY else Quorum.MAJORITY

    def _silent_at(self, rival: Rival) -> int:
        """From when on nothing counts that it said: an L+ later, of the longer L of the two."""
        return rival.heard + plus(max(self._settings.lease, rival.beat.deadtime))

    # --- what follows ---------------------------------------------------------------------------

    def look(self, holds: bool, now: int) -> None:
        """Find out whether this node, which `holds` blocks or does not, is barred."""
        self._rivals = {
            name: rival
            for name, rival in sorted(self._rivals.items())
            if now < self._silent_at(rival)
        }
        if self._node in self._settings.witnesses:
            return
        reasons = (self._gives_way(rival.beat, holds) for rival in self._rivals.values())
        self.barred = next(filter(None, reasons), None)
        self.gives_way = self.barred is not None
        without = [rival.beat.node for rival in self._without_quorum()]
        if not self.barred and not holds and without and not self._told(now):
            why = f"{', '.join(without)}, with other settings and no quorum, may hold some"
            self.barred = Barred("takes no blocks yet", why)

    def claim(self, fit: bool, holds: bool) -> Claim:
        """What this node claims; `fit`: nothing but whom it refuses keeps it from blocks."""
        if holds:
            return Claim.HOLDS
        if self.gives_way:
            return Claim.GIVES_WAY
        if not fit:
            return Claim.NOTHING
        return Claim.WAITS if self.barred else Claim.CLAIMS

    def said(self, claim: Claim, now: int) -> None:
        """This has been said."""
        if claim < Claim.WAITS:
            self._since = None
        elif self._since is None:
            self._since = now

    def _gives_way(self, rival: Beat, holds: bool) -> Barred | None:
        """Why this node gives way to `rival`; None if it does not."""
        if self._settings.quorum is Quorum.MAJORITY or rival.claim < Claim.FORMER:
            return None
        if rival.claim is Claim.FORMER:
            if holds:
                return None
            why = "may hold blocks from before its start"
        elif self._quorum(rival) is Quorum.MAJORITY:
            why = "has a majority"
        elif rival.claim is Claim.HOLDS and not holds:
            why = "holds blocks"
        elif holds is (rival.claim is Claim.HOLDS) and rival.node < self._node:
            why = "comes first by name"
        else:
            return None
        return Barred(f"gives way to {rival.node}", f"its settings differ, and it {why}")

    def _without_quorum(self) -> list[Rival]:
        """Those who need no quorum to hold blocks."""
        return [
            rival
            for rival in self._rivals.values()
            if self._quorum(rival.beat) is Quorum.NONE and not rival.beat.left
        ]

    def _told(self, now: int) -> bool:
        return self._since is not None and now >= self._told_at(self._since)

    def _told_at(self, since: int) -> int:
        """When all who go without a quorum know what this node has claimed since then.

        A beat of each arrives within an L+, or they do not hear each other. So within one they have
        heard the claim; and if one took blocks just before, this node hears it within the next.
        """
        waits = (self._silent_at(rival) - rival.heard for rival in self._without_quorum())
        return since + 2 * max(waits, default=0)

    def times(self) -> Iterator[int]:
        """When time alone changes something here."""
        for rival in self._rivals.values():
            yield self._silent_at(rival)
        if self._since is not None:
            yield self._told_at(self._since)

    # --- a restart without a break --------------------------------------------------------------

    def state(self) -> tuple[int | None, tuple[Beat, ...]]:
        """What must outlast a pause: since when it claims blocks, and what others said."""
        return self._since, tuple(rival.beat for rival in self._rivals.values())

    def restore(self, since: int | None, beats: tuple[Beat, ...], now: int) -> None:
        """Go on after a pause. Nothing was heard meanwhile."""
        self._since = since
        self._rivals = {beat.node: Rival(beat, now) for beat in beats}
