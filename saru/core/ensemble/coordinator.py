# SPDX-License-Identifier: GPL-2.0-or-later
"""One director's part in a cluster that agrees by ZooKeeper: events come in, actions go out.

Every event first finds out whether the lease has passed (R3), then takes in what is new, then
settles: allocate if it is master, take (R5), renew (R2), and ask of ZooKeeper what is due. The
lease is L from the asking of the last acknowledged write to the own node.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from saru.core.action import Change, SendBeat
from saru.core.admission import Admission
from saru.core.beat import Beat
from saru.core.ensemble.action import (
    EnsembleAction,
    Move,
    Register,
    Report,
    Stand,
    Touch,
    Withdraw,
)
from saru.core.ensemble.failsafe import Failsafe
from saru.core.ensemble.mastership import EnsembleMastership
from saru.core.ensemble.record import Account, Document, Reign, Roll, term_of
from saru.core.ensemble.statement import compose
from saru.core.invariants import InvariantError, well_formed
from saru.core.notes import watch
from saru.core.participant import Participant
from saru.core.settings import Settings
from saru.core.term import Session, Term, Version


class EnsembleCoordinator(Participant[EnsembleAction]):
    """The state of one director. `now` is CLOCK_BOOTTIME in ns, read after the event it judges."""

    LAPSED_WHY = "no write was acknowledged in time"

    def __init__(
        self, settings: Settings, node: str, incarnation: int, now: int, weight: int = 100
    ) -> None:
        super().__init__(settings, node, Session(0, 1), now, weight)
        self.connected_since: int | None = None
        self.registered_as: int | None = None  # the czxid of its node
        self.proved: int | None = None  # when the last write was asked that was acknowledged
        self.reigning: Reign | None = None
        self.mastership: EnsembleMastership | None = None
        self.admission = Admission(settings, self._note)
        self.failsafe = Failsafe(self, incarnation, self.admission) if settings.failsafe else None
        self.documents: dict[int, Document] = {}
        self._read: dict[int, tuple[Document | None, int]] = {}
        self._bound: dict[int, dict[Version, frozenset[str]]] = {
            d.id: {} for d in settings.divisions
        }
        self._term: Term | None = None
        self._seq = 0
        self._registering = self._moved = self._moving = False
        self._standing = False  # there may be an election node
        self._withdrawing = False  # it shall go
        self._leaving = False  # that has been asked
        self._touching: tuple[int, int] | None = None  # its number, and when it was asked
        self._touches = 0
        self._next_touch = now
        self._account: Account | None = None  # the newest one that is known to be written
        self._writing: Account | None = None
        self._ready_told = self._failsafe_told = False

    # --- events: the connection -----------------------------------------------------------------

    def connected(self, now: int) -> list[EnsembleAction]:
        """There is a connection, and what is asked reaches ZooKeeper."""
        self._begin(now)
        self.connected_since = now
        self._next_touch = min(self._next_touch, now)
        return self._settle(now)

    def disconnected(self, now: int) -> list[EnsembleAction]:
        """There is none: the outcome of all that was asked and not answered is unknown."""
        self._begin(now)
        self.connected_since = None
        self._registering = self._moving = self._leaving = False
        self._touching = self._writing = None
        if self.mastership is not None:
            self.mastership.forget_requests()
        return self._settle(now)

    def unregistered(self, why: str, now: int) -> list[EnsembleAction]:
        """The own node is gone: the session has expired, or somebody has deleted the node.

        The tables go before there is a new one: whoever sees that relies on it.
        """
        self._begin(now)
        self._registering = False
        self._touching = self._writing = self._account = None
        if self.registered_as is not None:
            self.registered_as = self.proved = None
            self._note(Change.LAPSED, self.node, "is not registered any more", why)
            self._let_go(now, why)
        return self._settle(now)

    # --- events: what was asked is done ---------------------------------------------------------

    def registered(self, czxid: int, now: int) -> list[EnsembleAction]:
        """The own node has been created."""
        self._begin(now)
        self._registering = False
        if self.registered_as is None and not self.dropping and not self.left:
            self.registered_as = czxid
            self.session = Session(czxid, self.session.number)
            self._next_touch = now
            self._note(Change.SEEN, self.node, "is registered", f"session {self.session}")
        return self._settle(now)

    def touched(self, number: int, czxid: int, now: int) -> list[EnsembleAction]:
        """A Touch was acknowledged; its answer said that the node's czxid is this.

        So the session was alive after it was asked, and the node is ours if it is this node.
        """
        self._begin(now)
        if self._touching is not None and self._touching[0] == number:
            asked, self._touching = self._touching[1], None
            if czxid == self.registered_as:
                self.proved = asked
        return self._settle(now)

    def reported(self, seq: int, now: int) -> list[EnsembleAction]:
        """The account `seq` is written."""
        self._begin(now)
        if self._writing is not None and self._writing.seq == seq:
            self._account, self._writing = self._writing, None
        return self._settle(now)

    def has_moved(self, now: int) -> list[EnsembleAction]:
        """It is written that this node goes by heartbeats no more."""
        self._begin(now)
        self._moved = True
        return self._settle(now)

    def elected(self, czxid: int, now: int) -> list[EnsembleAction]:
        """A list of the election nodes, which has ours, has none before it."""
        self._begin(now)
        term = term_of(czxid)
        if self._standing and self._term is not None and term <= self._term:
            if self.mastership is None or self.mastership.term != term:
                self._resign(f"term {self._term} has been there already")
        elif self._standing and not self._withdrawing:
            self._follow(term)
            self._note(Change.MASTER, self.node, f"is master of term {term}", "it is elected")
            mastership = EnsembleMastership(self.settings, term, self.node, self.failsafe)
            for number, (document, base) in self._read.items():
                mastership.read(number, document, base)
            self.mastership = mastership
        return self._settle(now)

    def withdrawn(self, now: int) -> list[EnsembleAction]:
        """A Withdraw is done: there is no election node of ours."""
        self._begin(now)
        self._standing = self._withdrawing = self._leaving = False
        return self._settle(now)

    def deposed(self, why: str, now: int) -> list[EnsembleAction]:
        """The own election node is gone."""
        self._begin(now)
        self._standing = self._withdrawing = self._leaving = False
        self._step_down(why)
        return self._settle(now)

    def proclaimed(self, term: Term, now: int) -> list[EnsembleAction]:
        """A Proclaim is done."""
        self._begin(now)
        if self.mastership is not None and self.mastership.term == term:
            self.mastership.proclaimed()
        return self._settle(now)

    def stored(self, number: int, version: Version, base: int, now: int) -> list[EnsembleAction]:
        """A Store is done: the znode has version `base` now."""
        self._begin(now)
        if self.mastership is not None and self.mastership.term == version.term:
            self.mastership.stored(number, version, base)
        return self._settle(now)

    def refused(self, number: int, now: int) -> list[EnsembleAction]:
        """A Store is not done: what it was to replace is not there. Read the znode again."""
        self._begin(now)
        if self.mastership is not None:
            self.mastership.refused(number)
        return self._settle(now)

    # --- events: what there is to read ----------------------------------------------------------

    def reign(self, reign: Reign, now: int) -> list[EnsembleAction]:
        """Whose term it is, as the znode `master` says."""
        self._begin(now)
        if self.reigning is None or reign.term > self.reigning.term:
            self.reigning = reign
        if self._term is None or reign.term > self._term:
            if self.mastership is not None:  # our election node must be gone
                self._resign(f"{reign.node} is master of term {reign.term}")
            self._follow(reign.term)
        return self._settle(now)

    def document(
        self, number: int, document: Document | None, base: int, now: int
    ) -> list[EnsembleAction]:
        """The newest allocation of an id, and the version of its znode; None if there is none."""
        self._begin(now)
        if number in self._bound and self._sound(document):
            self._read[number] = document, base
            known = self.documents.get(number)
            if document is not None and (known is None or document.version > known.version):
                self.documents[number] = document
            if self.mastership is not None and not self.mastership.read(number, document, base):
                self._resign("an earlier master has written an allocation late")
        return self._settle(now)

    def roll(self, roll: Roll, now: int) -> list[EnsembleAction]:
        """Who is registered; only a master needs to know."""
        self._begin(now)
        if self.mastership is not None:
            self.mastership.call(roll)
        return self._settle(now)

    def account(self, account: Account, now: int) -> list[EnsembleAction]:
        """What another director says of itself; only a master needs to know."""
        self._begin(now)
        if self.mastership is not None:
            self.mastership.hear(account)
        return self._settle(now)

    def movers(self, names: frozenset[str], now: int) -> list[EnsembleAction]:
        """Who has moved from heartbeats to ZooKeeper; only a master needs to know."""
        self._begin(now)
        if self.mastership is not None:
            self.mastership.moved(names)
        return self._settle(now)

    def receive(self, beat: Beat, now: int) -> list[EnsembleAction]:
        """A beat has been received; `now` was read after that. Only the fail-safe needs beats."""
        self._begin(now)
        if self.failsafe is not None:
            self.failsafe.hear(beat, now)
        return self._settle(now, work=False)  # beats change nothing that a master goes by

    # --- what is so now -------------------------------------------------------------------------

    @property
    def term(self) -> Term | None:
        """The highest term that this node has heard of: it takes nothing of a lower one."""
        return self._term

    def joined(self, now: int) -> bool:
        """Whether it may take blocks from a live holder."""
        return now >= self.start + self.settings.join_delay

    def proved_until(self) -> int:
        """Until when the last acknowledged write is good; 0 if there is none."""
        return 0 if self.proved is None else self.proved + self.settings.lease

    def failing_safe(self, now: int) -> bool:
        """Whether it holds what it holds by the others' vouches alone."""
        return self.leased(now) and now >= self.proved_until()

    def vouchers(self) -> frozenset[str]:
        """Whose vouches a lease without ZooKeeper takes: all others that what it holds binds."""
        names = frozenset[str]()
        for bound in self._bound.values():
            names = names.union(*bound.values())
        return names - {self.node}

    # --- taking in ------------------------------------------------------------------------------

    def _sound(self, document: Document | None) -> bool:
        if document is None:
            return True
        allocation = document.allocation
        try:
            well_formed(allocation, self._blocks[allocation.id])
        except (InvariantError, KeyError) as error:
            self._note(Change.REFUSED, "allocation", str(allocation.version), str(error))
            return False
        return True

    def _follow(self, term: Term) -> None:
        self._note(Change.TERM, self.node, f"term {term}", "follows")
        self._term = term

    def _lapse(self, why: str) -> None:
        """A master goes on: what it writes is checked, and what it knows lasts."""

    def _step_down(self, why: str) -> None:
        if self.mastership is not None:
            what = f"resigns as master of term {self.mastership.term}"
            self._note(Change.RESIGNED, self.node, what, why)
            self.mastership = None

    def _resign(self, why: str) -> None:
        self._step_down(why)
        self._withdrawing = self._standing

    def _let_go(self, now: int, why: str) -> None:
        if self.failsafe is not None:
            self.failsafe.let_go()
        super()._let_go(now, why)

    # --- settling -------------------------------------------------------------------------------

    def _settle(self, now: int, *, work: bool = True) -> list[EnsembleAction]:
        if self.failsafe is not None:
            self._actions += watch(self.failsafe.peers.values(), now, self.settings)
        self._extend(now)
        if self.mastership is not None and work:
            self._actions += self.mastership.work(compose(self, now), now)
        for number, holding in self.holdings.items():
            self._take(number, now)
            self._forget(number, holding.taken, holding.taking)
        self._extend(now)
        if self.connected_since is not None:
            self._ask(now)
        self._tell(now)
        if self.failsafe is not None and not self.dropping:
            beat = self.failsafe.beat(now)
            if beat is not None:
                self._actions.append(SendBeat(beat))
        actions, self._actions = self._actions, []
        return actions

    def _extend(self, now: int) -> None:
        """R2: work out the lease, and give the kernel the new deadline."""
        until = self.proved_until()
        if self.failsafe is not None:
            until = max(until, self.failsafe.until(self.vouchers()))
        alive = self.registered_as is not None and not self.left and not self.dropping
        if until > self.lease and until > now and alive:
            self.lease = until
        self._prolong()

    def _take(self, number: int, now: int) -> None:
        """R5: nothing new without ZooKeeper's word that we are alive."""
        document = self.documents.get(number)
        if document is None or now >= self.proved_until():
            return
        self._take_version(self.holdings[number], document.allocation, now)
        members = frozenset(member.node for member in document.members)
        self._bound[number].setdefault(document.version, members)

    def _forget(self, number: int, *held: Version | None) -> None:
        """Whom the versions bind that are not held any more."""
        bound = self._bound[number]
        self._bound[number] = {v: names for v, names in bound.items() if v in held}

    def _ask(self, now: int) -> None:
        """Ask of ZooKeeper what is due, where nothing of the kind is unanswered."""
        if self.registered_as is None:
            if not (self.dropping or self.left or self._registering):
                self._registering = True
                self._actions.append(Register())
            return
        if self._touching is None and now >= self._next_touch:
            self._touches += 1
            self._touching = self._touches, now
            self._next_touch = now + self.settings.keepalive
            self._actions.append(Touch(self._touches))
        self._report(now)
        if now >= self.start + self.settings.start_wait and not (self._moved or self._moving):
            self._moving = True
            self._actions.append(Move())
        stands = not (self.retiring or self.left)
        if self._standing and not stands:
            self._resign("it stands for nothing")
        if self._withdrawing and not self._leaving:
            self._leaving = True
            self._actions.append(Withdraw())
        if stands and not self._standing:
            self._standing = True
            self._actions.append(Stand())
        if self.mastership is not None:
            self._actions += self.mastership.requests()
            self._actions += self.mastership.evictions(now)

    def _report(self, now: int) -> None:
        """Write the account if it has changed; nothing is said before the tables are gone."""
        if self._writing is not None or self.dropping:
            return
        account = compose(self, now)
        if self._account is None or structs.replace(self._account, seq=0) != account:
            self._seq += 1
            self._writing = structs.replace(account, seq=self._seq)
            self._actions.append(Report(self._writing))

    def _tell(self, now: int) -> None:
        if self.leased(now) and self._term is not None and not self._ready_told:
            self._ready_told = True
            self._note(Change.READY, self.node, "takes part", f"in term {self._term}")
        failing = self.failing_safe(now)
        if failing != self._failsafe_told:
            self._failsafe_told = failing
            what = "keeps its blocks without ZooKeeper" if failing else "is in fail-safe no more"
            why = "all others vouch for it" if failing else ""
            self._note(Change.FAILSAFE, self.node, what, why)

    # --- time -----------------------------------------------------------------------------------

    def wake(self, now: int) -> int:
        """When `tick` is due next: the next moment at which time alone changes something."""
        return min((time for time in self._times() if time > now), default=now + 10**9)

    def _times(self) -> Iterator[int]:
        yield self.lease
        yield self.proved_until()
        yield self.start + self.settings.join_delay
        yield self.start + self.settings.start_wait
        if self.connected_since is not None:
            yield self._next_touch
        if self.failsafe is not None:
            yield from self.failsafe.times()
        if self.mastership is not None:
            yield from self.mastership.times()
