# SPDX-License-Identifier: GPL-2.0-or-later
"""Every step held against the rules, by one who sees everything and asks the core nothing.

What a daemon has sent, heard, vouched for and promised is written down here as it happens, and each
vouch, promise, fence, grant and order to a kernel is judged by that, and by the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from saru.core.action import Action, Change, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Allocation, Beat, Report, Role
from saru.core.invariants import InvariantError
from saru.core.settings import Quorum, Settings
from saru.core.term import Session, Term, Version
from tests.sim.life import Life

if TYPE_CHECKING:
    from tests.sim.node import Node

RHO = 0.01


class Watch:
    """What has happened so far, and the rules by which the next step is judged."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._majority = settings.quorum is Quorum.MAJORITY
        self._quorum = len(settings.nodes) // 2 + 1
        self._lease = settings.deadtime
        self._lease_plus = settings.deadtime * (1 + RHO) / (1 - RHO)
        self._lives: dict[str, Life] = {}
        self._last: dict[str, tuple[Session, int]] = {}  # the newest session and beat of each node
        self._masters: dict[Term, Session] = {}
        self._contents: dict[tuple[int, Version], Allocation] = {}
        self._issued: dict[int, list[tuple[Allocation, int]]] = {}  # and how many had started then
        self._starts = 0

    # --- what happens ---------------------------------------------------------------------------

    def started(self, node: Node) -> None:
        """A daemon starts; it has forgotten everything."""
        self._starts += 1
        self._lives[node.name] = Life(node.clock())

    def heard(self, node: Node, beat: Beat) -> None:
        """A daemon is about to see a beat."""
        life = self._lives[node.name]
        old = life.heard.get(beat.node)
        if old and (beat.session.incarnation, beat.seq) <= old.order:
            return
        life.hear(beat, node.clock(), self._lease, node.name)

    def did(self, node: Node, actions: Iterable[Action]) -> None:
        """A daemon has had an event, and wants this done."""
        assert node.daemon is not None
        life, now = self._lives[node.name], node.clock()
        session = node.daemon.session
        if session != life.session:
            life.begin(session)
        elif life.deadline and now >= life.deadline:
            self._broken("R3", node, f"lives on in session {session} when its lease has passed")
        life.count()
        if node.daemon.role is Role.MASTER:
            self._farewells(life, now)
        for action in actions:
            if isinstance(action, SendBeat):
                self._says(node, life, action.beat, now)
            elif isinstance(action, SendAllocation):
                self._sends(node, life, action.allocation, now)
            elif isinstance(action, Push):
                self._pushes(node, life, action)
            elif isinstance(action, Renew):
                self._extends(node, life, action.deadline)
            elif isinstance(action, Note) and action.change is Change.FENCED and self._majority:
                self._fences(node, life, action.who, now)

    def _broken(self, rule: str, node: Node, what: str) -> None:
        raise InvariantError(f"{rule} is broken: {node.name} {what}")

    # --- R1, R4, R6, R8: what a beat says -------------------------------------------------------

    def _says(self, node: Node, life: Life, beat: Beat, now: int) -> None:
        order = (beat.session, beat.seq)
        if node.name in self._last and order <= self._last[node.name]:
            self._broken("R3", node, f"goes from {self._last[node.name]} to {order}")
        self._last[node.name] = order
        if life.term is not None and (beat.term is None or beat.term < life.term):
            self._broken("R4", node, f"goes from term {life.term} to {beat.term}")
        if beat.term != life.term:
            life.term = beat.term
            life.fenced.clear()
        if beat.role is Role.MASTER and beat.term is not None and self._majority:
            master = self._masters.setdefault(beat.term, Session(beat.session.incarnation, 0))
            place = self._settings.nodes.index(node.name)
            if (beat.term.place, master.incarnation) != (place, beat.session.incarnation):
                self._broken("R4", node, f"is a second master of term {beat.term}")
        young = now < life.start + self._settings.initdead
        vouches = [heard for heard in beat.heard if heard.vouch]
        if young and (vouches or beat.promises or beat.term is not None):
            self._broken("R8", node, "takes part in its start-up wait")
        for entry in vouches:
            self._vouches(node, life, beat, entry.node, now)
        for promise in beat.promises:
            since = life.vouched.get(promise.node, life.start)
            if now - since <= self._lease_plus:
                silence = (now - since) / 1e6
                self._broken("R6", node, f"promises {promise.node} after {silence} ms")
            life.promise(promise.node, promise.session, self._asked(life, beat, promise.seq))
        for report in beat.reports:
            if beat.term is not None:  # what it says before binds nobody: its tables run out
                self._reports(node, report, beat.session)
            top = life.taken.get(report.id)
            if report.taken is not None and (top is None or top < report.taken):
                life.taken[report.id] = report.taken
        life.say(beat.seq, now)

    def _asked(self, life: Life, beat: Beat, seq: int) -> float:
        """Until when a promise binds: L+ after the receipt of the master's beat `seq`."""
        for known in life.heard.values():
            master = known.beat.role is Role.MASTER and known.beat.term == beat.term
            if master and known.beat.seq == seq:
                return known.at + self._lease_plus
        return float("inf")

    def _vouches(self, node: Node, life: Life, beat: Beat, name: str, now: int) -> None:
        """R1."""
        known = life.heard.get(name)
        if known is None or not known.contact(now, self._lease):
            self._broken("R1", node, f"vouches for {name} without contact")
            return
        if known.beat.term != beat.term or beat.term is None:
            self._broken("R1", node, f"vouches for {name}, which is in another term")
        barred = life.promised.get(name)
        if barred and known.beat.session <= barred[0] and now < barred[1]:
            self._broken("R6", node, f"vouches for {name}, and had promised not to")
        life.vouched[name] = known.at

    def _reports(self, node: Node, report: Report, session: Session) -> None:
        """R7, R8: whatever the kernel accepts is in the report."""
        said = 0
        for version in (report.taken, report.taking):
            if version is not None:
                said |= self._named(report.id, version, node.name, session)
        hidden = node.kernels[report.id].accepts() & ~said
        if hidden:
            self._broken("R7", node, f"accepts {hidden:#x} of id {report.id} and does not say so")

    def _named(self, number: int, version: Version, name: str, session: Session) -> int:
        """The blocks that a version names for a session."""
        found = self._contents.get((number, version))
        if found is None:
            raise InvariantError(f"nobody has made version {version} of id {number}")
        return found.bitmap(name, session)

    # --- R2, R5, R7: orders to the kernel -------------------------------------------------------

    def _extends(self, node: Node, life: Life, deadline: int) -> None:
        """R2: no deadline is later than q voters' vouches reach."""
        if self._majority:
            vouches = sorted(life.good.values(), reverse=True)
            needed = self._quorum - 1
            until = vouches[needed - 1] if len(vouches) >= needed else 0
        else:
            until = life.newest + self._lease
        if deadline > until:
            early = (deadline - until) / 1e6
            self._broken("R2", node, f"gives its kernel a deadline {early} ms beyond its lease")
        life.deadline = max(life.deadline, deadline)

    def _pushes(self, node: Node, life: Life, push: Push) -> None:
        """R5, the director's part, and what it rests on: nobody takes what was given since."""
        self._extends(node, life, push.deadline)
        assert node.daemon is not None
        top = life.taken.get(push.id)
        if top is not None and push.version <= top:
            self._broken("R5", node, f"goes from version {top} to {push.version}")
        if push.version.term != node.daemon.term:
            self._broken("R5", node, f"takes version {push.version} in term {node.daemon.term}")
        if push.held & ~self._named(push.id, push.version, node.name, node.daemon.session):
            self._broken("R5", node, f"takes of {push.version} what is not named for its session")
        life.taken[push.id] = push.version
        gained = push.held & ~life.table.get(push.id, 0)
        life.table[push.id] = push.held
        for newer, starts in self._issued.get(push.id, ()):
            same = newer.version.term == push.version.term
            binds = same or (self._majority and starts == self._starts)
            if newer.version <= push.version or not binds:
                continue
            for grant in newer.grants:
                if grant.node != node.name and grant.bitmap() & gained:
                    what = f"takes by {push.version} what {newer.version} gave {grant.node}"
                    self._broken("R5", node, what)

    # --- R6: fences -----------------------------------------------------------------------------

    def _fences(self, node: Node, life: Life, name: str, now: int) -> None:
        """Enough promises stand at this moment, and the truth is that the fenced holds nothing."""
        assert node.daemon is not None
        term, sessions = node.daemon.term, []
        age = self._lease
        for voter, known in life.heard.items():
            for promise in known.beat.promises:
                asked = life.sent.get(promise.seq)
                same = promise.node == name and known.beat.term == term
                if voter != name and same and asked is not None and now - asked < age:
                    sessions.append(promise.session)
        if now - life.vouched.get(name, life.start) > self._lease_plus:
            sessions.append(Session(2**24, 0))  # the master's own: it knows whom it means
        needed = len(self._settings.nodes) - self._quorum + 1
        if len(sessions) < needed:
            self._broken("R6", node, f"fences {name} by {len(sessions)} promises of {needed}")
        fenced = node.world.nodes[name]
        if any(kernel.accepts() and not kernel.excused() for kernel in fenced.kernels.values()):
            self._broken("R6", node, f"fences {name}, which still accepts blocks")
        session = sorted(sessions, reverse=True)[needed - 1]
        life.fenced[name] = max(session, life.fenced.get(name, session))

    def _farewells(self, life: Life, now: int) -> None:
        """A farewell heard in contact is a fence."""
        for name, known in life.heard.items():
            if known.beat.left and known.contact(now, self._lease):
                session = known.beat.session
                life.fenced[name] = max(session, life.fenced.get(name, session))

    # --- R5: grants -----------------------------------------------------------------------------

    def _sends(self, node: Node, life: Life, allocation: Allocation, now: int) -> None:
        """An allocation goes out: an old one once more, or a master's new version."""
        key = (allocation.id, allocation.version)
        known = self._contents.setdefault(key, allocation)
        if known != allocation:
            self._broken("R5", node, f"has made version {allocation.version} twice")
        if known is not allocation:
            return
        issued = self._issued.setdefault(allocation.id, [])
        if any(item is allocation for item, _ in issued):
            return
        term = allocation.version.term
        before = [item for item, _ in issued if item.version.term == term]
        if before and allocation.version <= before[-1].version:
            what = f"goes from {before[-1].version} to {allocation.version}"
            self._broken("R5", node, what)
        if self._majority:
            self._gives(node, life, allocation, before, now)
        issued.append((allocation, self._starts))
        self._moves(node, allocation, before)

    def _gives(
        self, node: Node, life: Life, allocation: Allocation, before: list[Allocation], now: int
    ) -> None:
        """R5: what may be given, to whom, and when."""
        term = node.daemon.term if node.daemon else None
        if term != allocation.version.term or self._place(node.name) != term.place:
            self._broken("R5", node, f"makes {allocation.version} and is not its master")
        others = [n for n in self._settings.nodes if n not in self._settings.witnesses]
        may = {name: self._may_hold(node, life, allocation, before, name, now) for name in others}
        if not before and None in may.values():
            lost = ", ".join(name for name, bitmap in may.items() if bitmap is None)
            self._broken("R5", node, f"makes its first version and knows nothing of {lost}")
        for grant in allocation.grants:
            had = may[grant.node] or 0  # in the term's first version, else what the last one named
            had = before[-1].bitmap(grant.node, grant.session) if before else had
            new = grant.bitmap() & ~had
            if not new:
                continue
            if grant.session <= life.fenced.get(grant.node, Session(0, 0)):
                life.fenced.pop(grant.node)  # alive after all: it counts by its reports again
            self._receives(node, life, grant.node, grant.session, now)
            for name, bitmap in may.items():
                if name != grant.node and (bitmap is None or bitmap & new):
                    what = f"gives {new:#x} to {grant.node}, and {name} may hold some of it"
                    self._broken("R5", node, f"{what} (version {allocation.version})")

    def _place(self, name: str) -> int:
        return self._settings.nodes.index(name)

    def _receives(self, node: Node, life: Life, name: str, session: Session, now: int) -> None:
        """Whoever is given blocks is in the term, in contact, and has a lease."""
        term = node.daemon.term if node.daemon else None
        if name == node.name:
            if not life.until(self._quorum) > now:
                self._broken("R5", node, "gives itself blocks without a lease")
            return
        known = life.heard.get(name)
        if known is None or known.beat.term != term or known.beat.session != session:
            self._broken("R5", node, f"gives blocks to {name}, which is not in its term")
        elif not known.contact(now, self._lease):
            self._broken("R5", node, f"gives blocks to {name}, with which it has no contact")
        elif not known.beat.lease_left:
            self._broken("R5", node, f"gives blocks to {name}, which has no lease")

    def _may_hold(
        self,
        node: Node,
        life: Life,
        allocation: Allocation,
        before: list[Allocation],
        name: str,
        now: int,
    ) -> int | None:
        """What `name` may hold or come to hold, as far as the master can know; None: anything."""
        number = allocation.id
        if name == node.name:
            assert node.daemon is not None
            # A version that leaves everything as it is it takes without a word to the kernel.
            session, top = node.daemon.session, node.daemon.holdings[number].taken
            held = life.table.get(number, 0) | node.kernels[number].accepts()
        else:
            known = life.heard.get(name)
            fenced = life.fenced.get(name)
            if fenced is not None and (known is None or known.beat.session <= fenced):
                return 0
            if known is None or known.beat.term != allocation.version.term:
                return None
            report = next((r for r in known.beat.reports if r.id == number), None)
            if now - known.at >= self._lease or report is None:
                return None
            session, top, held = known.beat.session, report.taken, 0
            for version in (report.taken, report.taking):
                if version is not None:
                    held |= self._named(number, version, name, session)
        for older in before:
            if top is None or older.version > top:
                held |= older.bitmap(name, session)
        return held

    def _moves(self, node: Node, allocation: Allocation, before: list[Allocation]) -> None:
        """Count the blocks that change hands within a term."""
        if before:
            old = {grant.node: grant.bitmap() for grant in before[-1].grants}
            for grant in allocation.grants:
                gained = grant.bitmap() & ~old.get(grant.node, 0)
                node.world.count["moves"] += gained.bit_count()
