# SPDX-License-Identifier: GPL-2.0-or-later
"""What a master by ZooKeeper does in its term: allocate (R5), and take off the list who is mute."""

from __future__ import annotations

from collections.abc import Iterator

from saru.core.action import Action, Change, Note
from saru.core.ensemble.action import EnsembleAction, Evict, Proclaim, Store
from saru.core.ensemble.failsafe import Failsafe
from saru.core.ensemble.record import Account, Document, Reign, Roll
from saru.core.ensemble.roster import Roster
from saru.core.ensemble.ways import Ways
from saru.core.granting import Director, Granting, Standing
from saru.core.invariants import well_formed
from saru.core.settings import Quorum, Settings
from saru.core.term import Term, Version


class EnsembleMastership:
    """One term's work, from the election to the end of the election node."""

    def __init__(
        self, settings: Settings, term: Term, node: str, failsafe: Failsafe | None
    ) -> None:
        self.term = term
        self.roster = Roster(settings, term, node, failsafe)
        self._settings = settings
        self._node = node
        self._blocks = {d.id: d.blocks for d in settings.divisions}
        self._granting = Granting(term, settings.divisions)
        self._movers: frozenset[str] | None = None
        self._read: dict[int, Document | None] = {}  # by id: what was there when this began
        self._base: dict[int, int | None] = {}  # by id: the znode's version, where it is known
        self._made: dict[int, Document] = {}
        self._stored: dict[int, Version] = {}
        self._storing: dict[int, Version] = {}
        self._proclaimed = self._proclaiming = False
        self._owing: dict[str, int] = {}  # since when a registered director owes an answer
        self._told: dict[str, Standing] = {}
        self._ways = Ways(settings.ping_settle)

    # --- what is learnt -------------------------------------------------------------------------

    def read(self, number: int, document: Document | None, base: int) -> bool:
        """An allocation as it stands in ZooKeeper; False if it is not what this master went by.

        Then another master has written it, before this one's term: what was made here without
        knowing that must not be written.
        """
        own = document is not None and document.version.term == self.term
        if own:
            assert document is not None
            self._stored[number] = max(document.version, self._stored.get(number, document.version))
        elif number not in self._made:
            self._read[number] = document
            if document is not None:
                self.roster.bind(document)
        else:
            old = self._read[number]
            if (document and document.version) != (old and old.version):
                return False
        known = self._base.get(number)
        self._base[number] = base if known is None else max(base, known)
        return True

    def proclaimed(self) -> None:
        """All can see now whose term it is."""
        self._proclaimed = True

    def stored(self, number: int, version: Version, base: int) -> None:
        """An allocation is in ZooKeeper."""
        self._storing.pop(number, None)
        self._stored[number] = version
        self._base[number] = base

    def refused(self, number: int) -> None:
        """Something else was there than was to be replaced: it must be read first."""
        self._storing.pop(number, None)
        self._base[number] = None

    def call(self, roll: Roll) -> None:
        """The list of the registered."""
        self.roster.call(roll)

    def hear(self, account: Account) -> None:
        """What a director says of itself."""
        if account.node != self._node:
            self.roster.hear(account)

    def moved(self, names: frozenset[str]) -> None:
        """Who has moved to ZooKeeper for good."""
        self._movers = names

    def forget_requests(self) -> None:
        """The connection has broken: what was asked may have been done, or not."""
        self._proclaiming = False
        self._storing.clear()

    # --- what is done ---------------------------------------------------------------------------

    def work(self, own: Account, now: int) -> Iterator[Action]:
        """Make the allocations that are due; `own` is what the master says of itself."""
        roster = self.roster
        if roster.accounts.get(self._node) != own:
            roster.accounts[self._node] = own
            roster.known += 1
        if roster.roll is None or not self._may_begin():
            return
        directors = roster.directors(now)
        yield from self._tell(directors)
        yield from self._ways.look(directors, roster.accounts, now)
        directors = tuple(self._ways.given(director) for director in directors)
        self._count_owing(directors, now)
        anew = roster.outdated(directors) if self._settings.failsafe else ()
        made = [number for number in anew if number in self._made]
        for allocation in self._granting.step(directors, roster.lookup, roster.known, made):
            well_formed(allocation, self._blocks[allocation.id])
            document = roster.document(allocation, directors)
            self._made[allocation.id] = document
            roster.bind(document)
            held = ", ".join(f"{g.node} {g.bitmap().bit_count()}" for g in allocation.grants)
            yield Note(
                Change.VERSION,
                "allocation",
                f"version {allocation.version} of id {allocation.id}",
                held or "nobody holds blocks",
            )

    def _may_begin(self) -> bool:
        """Whether nobody can hold blocks of whom no allocation in ZooKeeper tells.

        As long as there is none at all, directors may still go by heartbeats. Those that have moved
        vouch there no more: when more than n - q have, nobody has a quorum there.
        """
        if any(number not in self._read for number in self._blocks):
            return False
        settings = self._settings
        if any(self._read.values()) or not settings.nodes:
            return True
        if self._movers is None:
            return False
        voters = len(settings.nodes)
        quorum = voters // 2 + 1 if settings.quorum is Quorum.MAJORITY else 1
        return len(self._movers & set(settings.nodes)) > voters - quorum

    def requests(self) -> Iterator[EnsembleAction]:
        """What ZooKeeper is asked, where nothing of the kind is unanswered."""
        if not self._proclaimed and not self._proclaiming:
            self._proclaiming = True
            yield Proclaim(Reign(self.term, self._node))
        for number, document in self._made.items():
            base, version = self._base.get(number), document.version
            if base is None or number in self._storing or self._stored.get(number) == version:
                continue
            self._storing[number] = version
            yield Store(self.term, document, base)

    # --- who owes an answer ---------------------------------------------------------------------

    def _count_owing(self, directors: tuple[Director, ...], now: int) -> None:
        """Since when which registered directors have owed an answer that others wait for."""
        owing = {d.node for d in directors if self._owes(d)}
        self._owing = {name: self._owing.get(name, now) for name in sorted(owing)}

    def _owes(self, director: Director) -> bool:
        """Whether a director has not reported in the term, or not taken what is in ZooKeeper."""
        if director.node == self._node:
            return False
        if director.standing is Standing.UNKNOWN:
            roll = self.roster.roll
            return roll is not None and roll.directors.get(director.node) == (
                director.session.incarnation
            )
        if not director.grantable:
            return False
        taken = {report.id: report.taken for report in director.reports}
        return any(taken.get(n) != version for n, version in self._stored.items())

    def evictions(self, now: int) -> Iterator[Evict]:
        """Whoever has owed an answer for L+ loses its registration, as the silent lose theirs.

        Something keeps its connection up, but it does not act. Its lease has passed, or will: it
        is fenced like all whose node is gone.
        """
        roll = self.roster.roll
        for name, since in self._owing.items():
            if now > since + self._settings.lease_plus and roll is not None:
                self._owing[name] = now
                czxid = roll.directors.get(name)
                if czxid is not None:
                    yield Evict(name, czxid)

    # --- what is told, and when -----------------------------------------------------------------

    def _tell(self, directors: tuple[Director, ...]) -> Iterator[Note]:
        standing = {director.node: director.standing for director in directors}
        for name in sorted(self._told.keys() | standing.keys()):
            before, after = self._told.get(name), standing.get(name)
            if before is after or name == self._node:
                continue
            if after is Standing.REPORTED:
                yield Note(Change.SEEN, name, "takes part", "it has reported in our term")
            elif after is Standing.UNKNOWN:
                gone = self.roster.current(name) is None and before is Standing.REPORTED
                yield Note(Change.SILENT, name, "silent", "its node is gone" if gone else "")
            elif before is Standing.UNKNOWN:
                yield Note(Change.FENCED, name, "counts as fenced", "its node was gone for L+")
            else:
                yield Note(Change.LEFT, name, "left")
        self._told = standing

    def times(self) -> Iterator[int]:
        """When time alone changes something here."""
        yield from self.roster.times()
        yield from self._ways.times()
        for since in self._owing.values():
            yield since + self._settings.lease_plus + 1
