# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may be holding blocks, as a master by ZooKeeper knows it: members, accounts, fences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from saru.core.beat import Allocation, Grant, Report
from saru.core.ensemble.failsafe import Failsafe
from saru.core.ensemble.record import Account, Document, Holds, Member, Roll
from saru.core.granting import Director, Standing
from saru.core.settings import Settings, plus
from saru.core.term import Session, Term, Version


class Roster:
    """The members of one term's master, and what it knows of them.

    `mine` is the master's own account at this moment; `failsafe` is None where there is none.
    """

    def __init__(
        self, settings: Settings, term: Term, node: str, failsafe: Failsafe | None
    ) -> None:
        self.roll: Roll | None = None
        self.accounts: dict[str, Account] = {}
        self.known = 0  # grows with every account learnt
        self.patience = settings.lease_plus
        """How long a director that is gone may still hold blocks: the longest L+ there is."""
        self._settings = settings
        self._term = term
        self._node = node
        self._failsafe = failsafe
        self._documents: dict[int, Document] = {}
        self._gone: dict[tuple[str, int], int] = {}  # since when it is known
        self._fenced: set[tuple[str, int]] = set()

    # --- what is learnt -------------------------------------------------------------------------

    def bind(self, document: Document) -> None:
        """The newest allocation of an id binds those: read, or made here."""
        self._documents[document.allocation.id] = document
        self.patience = max(self.patience, plus(document.lease))

    def call(self, roll: Roll) -> None:
        """See who is registered; an older roll than the newest says nothing."""
        if self.roll is None or roll.zxid >= self.roll.zxid:
            self.roll = roll

    def hear(self, account: Account) -> None:
        """Take in an account; a write that was held up may bring an old one back."""
        old = self.accounts.get(account.node)
        if old is None or _order(account) > _order(old):
            self.accounts[account.node] = account
            self.known += 1

    # --- who is who -----------------------------------------------------------------------------

    def _listed(self, name: str) -> int | None:
        return self.roll.directors.get(name) if self.roll is not None else None

    def current(self, name: str) -> Account | None:
        """The account of a director that has reported in our term, and is registered."""
        account = self.accounts.get(name)
        if account is None or account.term != self._term:
            return None
        registered = name == self._node or self._listed(name) == account.session.incarnation
        return account if registered else None

    def _members(self, name: str) -> Iterator[tuple[Document, Member]]:
        for document in self._documents.values():
            member = document.member(name)
            if member is not None:
                yield document, member

    def _dead(self, name: str, session: Session, now: int) -> bool:
        """Whether what `name` was given in `session` is held no more, for good.

        Its newer node says that its tables have been emptied since. Its node is gone if a list that
        is newer than the node lacks it: then its last proof of life is older than that.
        """
        czxid = session.incarnation
        if (name, czxid) in self._fenced:
            return True
        account = self.accounts.get(name)
        if account is not None and account.left and account.session >= session:
            return True  # a farewell: in its life it takes nothing any more, of any term
        if self.roll is None or name == self._node:
            return False
        listed = self._listed(name)
        if listed is not None and listed > czxid:
            self._fenced.add((name, czxid))
            return True
        if listed is not None or self.roll.zxid <= czxid:
            return False
        since = self._gone.setdefault((name, czxid), now)
        if now <= since + self.patience or not self._speechless(name, now):
            return False
        self._fenced.add((name, czxid))
        return True

    def _speechless(self, name: str, now: int) -> bool:
        """Whether `name` cannot be in fail-safe mode: it would need our vouch, which has run out.

        It needs ours if we are a member of every version that it may hold by. Where it has been
        the only one in all of them, there is nobody to vouch for it.
        """
        if self._failsafe is None:
            return True
        if now < self._failsafe.silent_at(name, self.patience):
            return False
        for document, member in self._members(name):
            lower = self._lower(document, member)
            if lower is None or (document.company is None or document.company < lower):
                continue
            own = document.member(self._node)
            if own is None or own.since > lower:
                return False
        return True

    def _lower(self, document: Document, member: Member) -> Version | None:
        """The oldest version by which a member can be holding blocks; None: it holds none.

        By its own word it may be in a newer session by now, which has been given nothing.
        """
        account = self.accounts.get(member.node)
        if account is None or account.session < member.session:
            return member.lower
        if account.session > member.session:
            return None
        taken = next((h.taken for h in account.holds if h.id == document.allocation.id), None)
        return member.lower if taken is None else max(member.lower, taken)

    def directors(self, now: int) -> tuple[Director, ...]:
        """All that hold blocks or may, and all that have reported; others hold nothing."""
        names = set(self.accounts)
        for document in self._documents.values():
            names |= {member.node for member in document.members}
        found = (self.director(name, now) for name in sorted(names))
        return tuple(director for director in found if director is not None)

    def director(self, name: str, now: int) -> Director | None:
        """One of them; None if there is no such director, or it holds nothing for good."""
        account = self.current(name)
        if account is not None and not account.left:
            grantable = account.able and account.leased
            return Director(
                name,
                account.session,
                Standing.REPORTED,
                tuple(Report(h.id, h.taken, h.taking) for h in account.holds),
                account.weight if grantable else 0,
                account.joined and grantable,
                grantable,
            )
        bound = [member.session for _, member in self._members(name)]
        alive = [session for session in bound if not self._dead(name, session, now)]
        if not alive:
            return None
        return Director(name, max(alive), Standing.UNKNOWN, (), 0, False, False)

    def lookup(self, number: int, version: Version) -> Allocation | None:
        """What directors say that a version gave them: it names nobody else."""
        grants = []
        for name in sorted(self.accounts):
            account = self.accounts[name]
            held = _held(account.holds, number, version)
            if held is not None:
                grants.append(Grant(name, account.session, held))
        return Allocation(number, version, tuple(grants)) if grants else None

    # --- who is to be bound by the next version -------------------------------------------------

    def document(self, allocation: Allocation, directors: Iterable[Director]) -> Document:
        """The allocation with those that it binds."""
        number, version = allocation.id, allocation.version
        old = self._documents.get(number)
        members = tuple(self._member(old, version, d) for d in directors)
        company = version if len(members) > 1 else old.company if old is not None else None
        return Document(allocation, members, company, self._settings.lease)

    def _member(self, old: Document | None, version: Version, director: Director) -> Member:
        before = old.member(director.node) if old is not None else None
        if before is None or old is None:
            return Member(director.node, director.session, version, version)
        lower = version
        if before.session == director.session:
            lower = self._lower(old, before) or version
        return Member(director.node, director.session, before.since, lower)

    def outdated(self, directors: Iterable[Director]) -> list[int]:
        """The ids whose newest document no longer says who could fence whom (fail-safe)."""
        names = [director.node for director in directors]
        return [
            number
            for number, document in self._documents.items()
            if names != [member.node for member in document.members] or self._settles(document)
        ]

    def _settles(self, document: Document) -> bool:
        """Whether somebody could fence a member by what that has taken since."""
        for member in document.members:
            lower = self._lower(document, member)
            if lower is None or lower == member.lower:
                continue
            alone = document.company is not None and member.lower <= document.company < lower
            if alone or any(member.lower < m.since <= lower for m in document.members):
                return True
        return False

    # --- time -----------------------------------------------------------------------------------

    def times(self) -> Iterator[int]:
        """When time alone changes who is fenced."""
        for (name, czxid), since in self._gone.items():
            if (name, czxid) not in self._fenced:
                yield since + self.patience + 1
                if self._failsafe is not None:
                    yield self._failsafe.silent_at(name, self.patience)


def _order(account: Account) -> tuple[int, int]:
    return account.session.incarnation, account.seq


def _held(holds: Iterable[Holds], number: int, version: Version) -> bytes | None:
    """What a version gives that is taken, or on its way."""
    for hold in holds:
        if hold.id == number and hold.taken == version:
            return hold.held
        if hold.id == number and hold.taking == version:
            return hold.coming
    return None
