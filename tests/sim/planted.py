# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules taken out of the core, one at a time, to prove that somebody would notice.

PLANTED are seen by the random runs, SCRIPTED by a hand-written one; what each breaks is said there:
safety (a block accepted by two) or availability (blocks unheld, a director left out, for good).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

import msgspec

from saru.core import election
from saru.core.action import Action, Note
from saru.core.beat import Allocation, Ask, Beat, Heard, Promise
from saru.core.coordinator import Coordinator
from saru.core.fence import Fences, Promises
from saru.core.granting import Director, Lookup, Standing, _Ledger
from saru.core.holding import Holding
from saru.core.library import Library
from saru.core.mastership import Mastership
from saru.core.office import Office
from saru.core.peer import Peer, Sent
from saru.core.settings import Settings
from saru.core.term import Session, Term, Version
from saru.core.voter import Voter
from tests.sim import scripts, world
from tests.sim.world import Kernel


@contextlib.contextmanager
def no_lapse() -> Iterator[None]:
    """Without R3: a director whose lease has passed goes on as if nothing had happened.

    Not even its kernel's refusal to renew makes a new session.
    """

    def begin(_self: Coordinator, _now: int) -> None:
        return

    with mock.patch.object(Coordinator, "_begin", begin), deaf_to_refusals():
        yield


@contextlib.contextmanager
def forget_unacknowledged() -> Iterator[None]:
    """Without R5's clause on versions not yet acknowledged."""
    whole = _Ledger.may_hold

    def may_hold(self: _Ledger, director: Director, lookup: Lookup) -> int:
        with mock.patch.object(self, "issued", []):
            return whole(self, director, lookup)

    with mock.patch.object(_Ledger, "may_hold", may_hold):
        yield


@contextlib.contextmanager
def one_step() -> Iterator[None]:
    """Without R5's two steps: a block goes into new hands while the old ones still hold it."""

    def may_hold(self: _Ledger, director: Director, _lookup: Lookup) -> int:
        return self.everything if director.standing is Standing.UNKNOWN else 0

    with mock.patch.object(_Ledger, "may_hold", may_hold):
        yield


@contextlib.contextmanager
def no_silence() -> Iterator[None]:
    """Without R6's silence: voters promise as soon as they are asked."""

    def silent_at(_self: Promises, _peer: Peer) -> int:
        return 0

    with mock.patch.object(Promises, "silent_at", silent_at):
        yield


@contextlib.contextmanager
def one_promise_less() -> Iterator[None]:
    """With one promise fewer than R6 asks for."""
    whole = Fences.__init__

    def init(self: Fences, settings: Settings, term: Term, voters: int, needed: int) -> None:
        whole(self, settings, term, voters - 1, needed)

    with mock.patch.object(Fences, "__init__", init):
        yield


@contextlib.contextmanager
def no_deadline() -> Iterator[None]:
    """With a kernel that goes on accepting when its deadline has passed."""

    def accepts(self: Kernel) -> int:
        return self.held if self.version else 0

    with mock.patch.object(Kernel, "accepts", accepts):
        yield


@contextlib.contextmanager
def no_report() -> Iterator[None]:
    """Without R5's report: who is not heard in the term holds nothing."""
    whole = Mastership.director

    def director(self: Mastership, peer: Peer, library: Library, now: int) -> Director:
        seen = whole(self, peer, library, now)
        if seen.standing is Standing.UNKNOWN:
            return msgspec.structs.replace(seen, standing=Standing.FENCED)
        return seen

    with mock.patch.object(Mastership, "director", director):
        yield


@contextlib.contextmanager
def no_wait() -> Iterator[None]:
    """Without R8's wait: who has just started vouches and promises as if it knew its past."""

    def waited(_self: Voter, _now: int) -> bool:
        return True

    def silent_at(self: Promises, peer: Peer) -> int:
        return 0 if peer.vouched_at is None else peer.vouched_at + self._settings.lease_plus + 1

    with (
        mock.patch.object(Voter, "waited", waited),
        mock.patch.object(Promises, "silent_at", silent_at),
    ):
        yield


@contextlib.contextmanager
def more_drift() -> Iterator[None]:
    """With clocks that drift ten times as much as the rules allow for."""
    with mock.patch.object(world, "DRIFT", 10 * world.DRIFT):
        yield


@contextlib.contextmanager
def lease_from_receipt() -> Iterator[None]:
    """Without R2's sending time: a vouch is good for L from when it came."""
    whole = Peer.hear

    def hear(
        self: Peer, beat: Beat, now: int, sent: Sent, us: tuple[str, Session], lease: int
    ) -> None:
        before = self.good_until
        whole(self, beat, now, sent, us, lease)
        if self.good_until > before:
            self.good_until = now + lease

    with mock.patch.object(Peer, "hear", hear):
        yield


# --- what takes a script to see -------------------------------------------------------------------


@contextlib.contextmanager
def report_of_any_term() -> Iterator[None]:
    """Without R5's "in this term": any fresh report counts."""
    whole = Mastership.director

    def director(self: Mastership, peer: Peer, library: Library, now: int) -> Director:
        beat = peer.beat
        if beat is not None:
            peer.beat = msgspec.structs.replace(beat, term=self._term)
        try:
            return whole(self, peer, library, now)
        finally:
            peer.beat = beat

    with mock.patch.object(Mastership, "director", director):
        yield


@contextlib.contextmanager
def any_term() -> Iterator[None]:
    """Without R5's "of exactly its own term": whatever is newer is taken."""

    def may_take(self: Holding, allocation: Allocation, _term: Term | None) -> bool:
        if self.taking is not None:
            return False
        return self.newest is None or allocation.version > self.newest

    def newest(self: Library, number: int, _term: Term | None) -> Allocation | None:
        shelf: dict[Version, Allocation] = self._shelves.get(number, {})
        return shelf[max(shelf)] if shelf else None

    with (
        mock.patch.object(Holding, "may_take", may_take),
        mock.patch.object(Library, "newest", newest),
    ):
        yield


@contextlib.contextmanager
def nameless_grants() -> Iterator[None]:
    """Without R5's names: what was granted to an earlier session is taken."""
    whole = Holding.take

    def take(
        self: Holding, allocation: Allocation, node: str, session: Session, deadline: int
    ) -> int | None:
        named = next((g.session for g in allocation.grants if g.node == node), session)
        return whole(self, allocation, node, named, deadline)

    with mock.patch.object(Holding, "take", take):
        yield


@contextlib.contextmanager
def that_session_only() -> Iterator[None]:
    """Without R6's "of any incarnation and session", on both sides of the question."""
    whole = Voter.promised

    def promised(self: Voter, master: Peer | None, now: int) -> tuple[Promise, ...]:
        made = {promise.node: promise for promise in whole(self, master, now)}
        asks = master.beat.asks if master is not None and master.beat is not None else ()
        for ask in asks:
            peer = self._peers.get(ask.node)
            if peer is not None and peer.beat is not None and ask.session < peer.beat.session:
                assert master is not None
                assert master.beat is not None
                made[ask.node] = Promise(ask.node, ask.session, master.beat.seq)
        return tuple(made.values())

    def newest(_self: Mastership, peer: Peer) -> Session:
        return peer.beat.session if peer.beat is not None else Session(0, 0)

    with (
        mock.patch.object(Voter, "promised", promised),
        mock.patch.object(Mastership, "_newest_session", newest),
    ):
        yield


@contextlib.contextmanager
def no_freshness() -> Iterator[None]:
    """Without R6's freshness: a promise counts whenever it was made."""

    def stands(_self: Fences, promise: Promise, ask: Ask, _sent: Sent, _now: int) -> bool:
        return promise.node == ask.node and promise.session >= ask.session

    with mock.patch.object(Fences, "stands", stands):
        yield


@contextlib.contextmanager
def no_promise() -> Iterator[None]:
    """Without R6's promise: a voter says that it was silent, and vouches again when it likes."""

    def forbid(_self: Promises, _beat: Beat, _now: int) -> bool:
        return False

    with mock.patch.object(Promises, "forbid", forbid):
        yield


@contextlib.contextmanager
def remembered_farewell() -> Iterator[None]:
    """With a farewell that counts as a fence whenever and wherever it was said."""
    whole = Mastership.fence

    def fence(self: Mastership, library: Library, now: int) -> Iterator[Note]:
        for peer in self._peers.values():
            if peer.beat is not None and peer.beat.left:
                self._fences.find(peer.name, peer.beat.session)
        yield from whole(self, library, now)

    with mock.patch.object(Mastership, "fence", fence):
        yield


@contextlib.contextmanager
def no_eviction() -> Iterator[None]:
    """Without R1's eviction: voters vouch for whom the master wants fenced."""
    whole = Voter.heard

    def heard(self: Voter, term: Term | None, _asks: Iterable[Ask], now: int) -> tuple[Heard, ...]:
        return whole(self, term, (), now)

    with mock.patch.object(Voter, "heard", heard):
        yield


@contextlib.contextmanager
def no_question() -> Iterator[None]:
    """Without R4's question before standing: who hears no master stands."""

    def unled(contacts: Iterable[Peer]) -> list[str]:
        return [p.name for p in contacts if p.beat is not None and p.beat.waited]

    with mock.patch.object(election, "unled", unled):
        yield


@contextlib.contextmanager
def no_doubt() -> Iterator[None]:
    """With a master that stays when a node in contact is in a higher term."""

    def doubt(_self: Office, _contacts: list[Peer], _leased: bool, _now: int) -> None:
        return

    with mock.patch.object(Office, "_doubt", doubt):
        yield


@contextlib.contextmanager
def deaf_to_refusals() -> Iterator[None]:
    """With a director that does not learn that its kernel has refused a renewal."""

    def stale(self: Coordinator, _number: int, _version: Version, now: int) -> list[Action]:
        return self.tick(now)

    with mock.patch.object(Coordinator, "stale", stale):
        yield


Plant = Callable[[], contextlib.AbstractContextManager[None]]

PLANTED: dict[str, Plant] = {
    "R2 sending time": lease_from_receipt,
    "R3 lapse": no_lapse,
    "R5 report": no_report,
    "R5 unacknowledged versions": forget_unacknowledged,
    "R5 two steps": one_step,
    "R6 silence": no_silence,
    "R6 one of the promises": one_promise_less,
    "R8 wait": no_wait,
    "the kernel's deadline": no_deadline,
    "the bound on drift": more_drift,
}

TWO = "accept them"  # safety: never two
UNSERVED = "stay unheld|left out|deposed"  # availability: soon one

SCRIPTED: dict[str, tuple[Plant, Callable[[], None], str]] = {
    "R1 eviction": (no_eviction, scripts.broken_links, UNSERVED),
    "R4 question before standing": (no_question, scripts.a_link_that_comes_and_goes, UNSERVED),
    "R4 a master that gives way": (no_doubt, scripts.a_candidate_too_late, UNSERVED),
    "R5 report in this term": (report_of_any_term, scripts.a_report_from_before_any_term, TWO),
    "R5 own term": (any_term, scripts.late_allocation_of_an_old_term, TWO),
    "R5 names": (nameless_grants, scripts.late_allocation_of_an_old_session, TWO),
    "R6 any session": (that_session_only, scripts.a_session_that_the_master_does_not_know, TWO),
    "R6 freshness": (no_freshness, scripts.a_promise_from_long_ago, TWO),
    "R6 promise": (no_promise, scripts.a_promise_taken_back, TWO),
    "R6 farewell in contact": (remembered_farewell, scripts.a_farewell_from_an_earlier_life, TWO),
    "R7 refused renewals": (deaf_to_refusals, scripts.a_renewal_too_late, UNSERVED),
}
