# SPDX-License-Identifier: GPL-2.0-or-later
"""What one daemon has done and heard since its start, written down by one who watches it.

All times are the daemon's own clock, in ns.
"""

from __future__ import annotations

from typing import NamedTuple

from saru.core.beat import Beat
from saru.core.term import Session, Term, Version


class Known(NamedTuple):
    """The newest beat of a node, when it came, and when the beat was sent that it names."""

    beat: Beat
    at: int
    named: int | None

    @property
    def order(self) -> tuple[int, int]:
        """What makes one beat newer than another."""
        return self.beat.session.incarnation, self.beat.seq

    def contact(self, now: int, lease: int) -> bool:
        """Whether both hear each other."""
        return now - self.at < lease and self.named is not None and now - self.named < lease


class Life:
    """One daemon's life from its start to its end."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.session = Session(0, 0)
        self.term: Term | None = None
        self.sent: dict[int, int] = {}  # beats, and when
        self.newest = start  # when the newest beat was sent
        self.heard: dict[str, Known] = {}
        self.vouched: dict[str, int] = {}  # when the newest beat came that was vouched for
        self.promised: dict[str, tuple[Session, float]] = {}  # and until when
        self.fenced: dict[str, Session] = {}  # in the present term, as its master
        self.good: dict[str, int] = {}  # by voter: until when its vouch for the session is good
        self.deadline = 0  # the latest that the kernel was given in the session
        self.taken: dict[int, Version] = {}  # by id: the newest version taken in the session
        self.table: dict[int, int] = {}  # by id: the bitmap that the kernel was given last
        self._news: list[tuple[str, Session, int]] = []

    def hear(self, beat: Beat, now: int, lease: int, name: str) -> None:
        """A newer beat is read; what it vouches for counts once it is known who reads it."""
        named = None
        for entry in beat.heard:
            if entry.node == name and entry.session.incarnation == self.session.incarnation:
                named = self.sent.get(entry.seq)
                if named is not None and entry.vouch:
                    self._news.append((beat.node, entry.session, named + lease))
        self.heard[beat.node] = Known(beat, now, named)

    def begin(self, session: Session) -> None:
        """A new session: no vouch counts that was for another, and the tables go."""
        self.session = session
        self.deadline = 0
        self.good.clear()
        self.taken.clear()
        self.table.clear()

    def count(self) -> None:
        """Count the vouches that have come with the newest beat."""
        for voter, session, until in self._news:
            if session == self.session:
                self.good[voter] = max(until, self.good.get(voter, until))
        self._news.clear()

    def until(self, quorum: int) -> float:
        """Until when the lease lasts."""
        if quorum == 1:
            return float("inf")
        vouches = sorted(self.good.values(), reverse=True)
        return vouches[quorum - 2] if len(vouches) >= quorum - 1 else 0

    def say(self, seq: int, now: int) -> None:
        """A beat goes out."""
        self.sent[seq] = self.newest = now

    def promise(self, name: str, session: Session, until: float) -> None:
        """Bound not to vouch for `name` up to `session`."""
        old = self.promised.get(name)
        self.promised[name] = (
            (max(session, old[0]), max(until, old[1])) if old else (session, until)
        )
