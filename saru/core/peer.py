# SPDX-License-Identifier: GPL-2.0-or-later
"""What one node knows of another, and of its own beats. All times are the node's own clock."""

from __future__ import annotations

from saru.core.beat import Beat, Heard
from saru.core.settings import least
from saru.core.state import PeerState
from saru.core.term import Session


class Sent:
    """When this incarnation's beats were sent; those older than the lease are forgotten."""

    def __init__(self, lease: int) -> None:
        self._lease = lease
        self._times: dict[int, int] = {}
        self.newest: int | None = None

    def add(self, seq: int, now: int) -> None:
        """Beat `seq` is being sent."""
        self._times[seq] = now
        self.newest = now
        for old in [s for s, time in self._times.items() if time + self._lease <= now]:
            del self._times[old]

    def state(self) -> tuple[tuple[int, int], ...]:
        """The sequence numbers and times kept, the newest last."""
        return tuple(sorted(self._times.items()))

    def restore(self, state: tuple[tuple[int, int], ...]) -> None:
        """Go on after a pause."""
        self._times = dict(state)
        self.newest = max(self._times.values(), default=None)

    def time(self, seq: int) -> int | None:
        """When beat `seq` was sent; None if never, or longer ago than the lease."""
        return self._times.get(seq)


class Peer:
    """Another node, as its beats show it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.beat: Beat | None = None  # the newest
        self.received = 0  # when that came
        self.unheard_since = 0  # since when nothing has come of it while we listened
        self.life_since = 0  # when the first of this incarnation came, while we listened
        self.back_since = 0  # when the first one came after a silence of L, or at all
        self.named: int | None = None  # our sending time of the beat that it names
        self.good_until = 0  # until when its vouches for our present session are good (R2)
        self.vouched_at: int | None = None  # receipt of the newest of its beats we vouched for (R6)
        self.in_term_since: int | None = None  # since when it reports in our term
        self.told = ""  # what the operator was told last: "", seen, late, silent

    def state(self) -> PeerState:
        """What must outlast a pause."""
        return PeerState(
            name=self.name,
            beat=self.beat,
            received=self.received,
            back_since=self.back_since,
            named=self.named,
            good_until=self.good_until,
            vouched_at=self.vouched_at,
            in_term_since=self.in_term_since,
        )

    def restore(self, state: PeerState) -> None:
        """Go on after a pause. What the operator was told is told anew: it may be another log.

        Since when this one is listened to is another matter; see `listened_to_again`.
        """
        self.beat, self.received, self.back_since = state.beat, state.received, state.back_since
        self.named, self.good_until = state.named, state.good_until
        self.vouched_at, self.in_term_since = state.vouched_at, state.in_term_since

    def listened_to_again(self, now: int) -> None:
        """This node has heard nobody for a while: what it knows of this one begins now."""
        self.unheard_since = self.life_since = now

    def waits_until(self) -> int:
        """Until when, at least, it is in its start-up wait (R8): so long this life holds nothing.

        Its newest beat says how much is left. That was sent after the one of ours that it names;
        0 if it names none.
        """
        if self.beat is None or self.beat.term is not None or self.named is None:
            return 0
        return self.named + least(self.beat.wait_left)

    def is_news(self, beat: Beat) -> bool:
        """Whether `beat` is newer than all that came before; late and doubled ones are not."""
        return self.beat is None or beat.newer(self.beat)

    def hear(self, beat: Beat, now: int, sent: Sent, us: tuple[str, Session], lease: int) -> None:
        """Take in a newer beat; `us` is this node's name and present session."""
        if not self.fresh(now, lease):
            self.back_since = now
        if self.beat is None or self.beat.session.incarnation != beat.session.incarnation:
            self.life_since = now
        self.beat = beat
        self.received = self.unheard_since = now
        name, session = us
        entry = next((h for h in beat.heard if h.node == name), None)
        self.named = self._named(entry, sent, session)
        if self.named is not None and entry and entry.vouch and entry.session == session:
            self.good_until = max(self.good_until, self.named + lease)

    @staticmethod
    def _named(entry: Heard | None, sent: Sent, session: Session) -> int | None:
        if entry is None or entry.session.incarnation != session.incarnation:
            return None
        return sent.time(entry.seq)

    def fresh(self, now: int, lease: int) -> bool:
        """Whether its newest beat came less than a lease ago."""
        return self.beat is not None and now < self.received + lease

    def contact_until(self, lease: int) -> int:
        """Until when two-way contact (R1) lasts if nothing more is heard; 0 if there is none."""
        if self.beat is None or self.named is None:
            return 0
        return min(self.received, self.named) + lease

    def contact(self, now: int, lease: int) -> bool:
        """Whether there is two-way contact (R1)."""
        # Asked of everybody at every event, several times: what `contact_until` says, in less time.
        since = now - lease
        named = self.named
        return named is not None and named > since and self.received > since
