# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated director that agrees with the others by ZooKeeper: what the daemon does around it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from saru.core.action import SendBeat
from saru.core.beat import Beat
from saru.core.ensemble import action as asks
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import ABSENT, Account, Document, Reign, Roll
from tests.sim.ensemble.client import Client
from tests.sim.ensemble.zookeeper import Op, Reply, Znode
from tests.sim.host import Host
from tests.sim.network import MS

if TYPE_CHECKING:
    from tests.sim.ensemble.world import EnsembleWorld

Event = Callable[[EnsembleCoordinator], Sequence[Any]]
DRIFT = 0.01


def _later(caught: list[Callable[[], None]], done: Callable[[Reply], None], reply: Reply) -> None:
    caught.append(lambda: done(reply))


class Director(Host[EnsembleCoordinator]):
    """A host, its daemon, and the daemon's connection to ZooKeeper."""

    def __init__(self, world: EnsembleWorld, name: str) -> None:
        self.world = world
        dice = random.Random(f"{world.scenario.seed} {name}")
        super().__init__(world, name, dice, 0, DRIFT)
        self.client: Client | None = None
        self.hung_until = 0
        self._held_up: list[Callable[[EnsembleCoordinator], Any]] = []
        self.unreachable: set[int] = set()  # servers
        self._late = (0, 0)
        self.caught: dict[str, list[Callable[[], None]]] = {}  # what is read of these is held back
        self._badge: str | None = None  # how the name of the own election node begins
        self._seat: str | None = None  # its path, once that is known
        self._elected = False

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon, its tables emptied."""
        self.end()
        self.incarnation += 1
        self.empty()
        self.daemon = EnsembleCoordinator(
            self.world.settings, self.name, self.incarnation, self.clock(), self.weight
        )
        self.client = Client(self.world.zookeeper, self, self.dice)
        self.client.unreachable, self.client.late = self.unreachable, self._late
        self.do(lambda core: core.guard(True, "rules in place", self.clock()))

    def end(self) -> None:
        """Kill the daemon; its session goes on until it times out."""
        super().end()
        if self.client is not None:
            self.client.close()
        self.client = self._badge = self._seat = None
        self._elected = False
        self.hung_until = 0
        self._held_up.clear()

    def leave(self) -> None:
        """A clean stop: the daemon says goodbye, ends its session, and ends."""
        self.do(lambda core: core.leave(self.clock()))

        def ends() -> None:
            if self.client is not None:
                self.client.farewell()
            self.end()

        self.later(40 * MS, ends)

    def hang(self, length: int) -> None:
        """The daemon does nothing for a while, but its connection is kept up (kazoo's thread)."""
        self.hung_until = self.world.now + length

    def be_late(self, asks: float, answers: float) -> None:
        """What it asks and what it is told comes up to so many ms later from now on."""
        self._late = round(asks * MS), round(answers * MS)
        if self.client is not None:
            self.client.late = self._late

    def expire(self) -> None:
        """Somebody ends the session from outside."""
        if self.client is not None and self.client.session is not None:
            self.world.zookeeper.expire(self.client.session)

    # --- the connection -------------------------------------------------------------------------

    def awake(self, what: Callable[[], None]) -> None:
        """Do something now, or when the pause is over."""
        if self.daemon is None:
            return
        if self.world.now < self.paused_until:
            self._waiting.append(what)
        else:
            what()

    def do(self, event: Callable[[EnsembleCoordinator], Any]) -> None:
        """Let the daemon have an event, now or when it hangs no more."""
        if self.daemon is not None and (self._held_up or self.world.now < self.hung_until):
            self._held_up.append(event)
            self.later(max(0, self.hung_until - self.world.now), self._go_on)
        else:
            super().do(event)

    def _go_on(self) -> None:
        """What has come while the daemon hung is seen to, in its order."""
        if self.world.now >= self.hung_until:
            held_up, self._held_up = self._held_up, []
            for event in held_up:
                super().do(event)

    def found(self) -> None:
        """There is a connection: read what there is to read."""
        self.do(lambda core: core.connected(self.clock()))
        self._read_reign()
        for division in self.world.settings.divisions:
            self._read_document(division.id)
        self._look_at_election()
        if self._elected:
            self._look_around()

    def lost(self, expired: bool) -> None:
        """There is none; if the session has ended, its nodes are gone."""
        self.do(lambda core: core.disconnected(self.clock()))
        if expired:
            self._badge, self._seat, self._elected = None, None, False
            self.do(lambda core: core.unregistered("the session has expired", self.clock()))
            self.do(lambda core: core.deposed("the session has expired", self.clock()))

    def _ask(
        self,
        done: Callable[[Reply], None],
        *ops: Op,
        watch: Callable[[], None] | None = None,
    ) -> None:
        caught = self.caught.get(ops[0].path)
        if caught is not None and ops[0].kind in ("get", "children"):
            done = partial(_later, caught, done)
        if self.client is not None:
            self.client.ask(done, *ops, watch=watch)

    def release(self, path: str) -> None:
        """What has been read of a znode, and held back, is seen to now; no more is held back."""
        for seen in self.caught.pop(path, ()):
            seen()

    # --- requests -------------------------------------------------------------------------------

    def _request(self, action: Any) -> None:
        if isinstance(action, SendBeat):
            self.world.send(self, action.beat)
        elif isinstance(action, asks.Register):
            self._register()
        elif isinstance(action, asks.Touch):
            self._touch(action.number)
        elif isinstance(action, asks.Report):
            self._report(action.account)
        elif isinstance(action, asks.Stand):
            self._stand()
        elif isinstance(action, asks.Withdraw):
            self._withdraw()
        elif isinstance(action, asks.Proclaim):
            self._proclaim(action.reign)
        elif isinstance(action, asks.Store):
            self._store(action)
        elif isinstance(action, asks.Evict):
            self._evict(action)
        else:
            assert isinstance(action, asks.Move)
            self._ask(self._has_moved, Op("create", f"moved/{self.name}"))

    def _register(self) -> None:
        path = f"directors/{self.name}"

        def there(reply: Reply) -> None:
            client = self.client
            if not reply.error or (client and reply.value.owner == client.session):
                czxid = reply.value.czxid
                self.do(lambda core: core.registered(czxid, self.clock()))
            else:  # an earlier life's: its tables are gone
                self._ask(lambda _: self._register(), Op("delete", path))

        self._ask(there, Op("create", path, ephemeral=True))

    def _touch(self, number: int) -> None:
        def done(reply: Reply) -> None:
            if reply.error:
                self.do(lambda core: core.unregistered("its node is gone", self.clock()))
            else:
                czxid = reply.value.czxid
                self.do(lambda core: core.touched(number, czxid, self.clock()))

        self._ask(done, Op("set", f"directors/{self.name}", number))

    def _report(self, account: Account) -> None:
        path = f"reports/{self.name}"

        def done(reply: Reply) -> None:
            client = self.client
            if reply.error == "no node":
                self._ask(done, Op("create", path, account, ephemeral=True))
            elif reply.error or (client and reply.value.owner != client.session):
                self._ask(lambda _: self._report(account), Op("delete", path))
            else:
                self.do(lambda core: core.reported(account.seq, self.clock()))

        self._ask(done, Op("set", path, account))

    def _has_moved(self, _: Reply) -> None:
        self.do(lambda core: core.has_moved(self.clock()))

    # --- the election ---------------------------------------------------------------------------

    def _stand(self) -> None:
        self.world.seats += 1
        self._badge = f"{self.name}{self.world.seats}-"
        self._look_at_election()

    def _withdraw(self) -> None:
        """Delete the election node, whether or not it is known to exist."""
        badge = self._badge

        def seen(reply: Reply) -> None:
            seats = [name for name in reply.value[0] if name.startswith(badge or "?")]
            if seats:
                self._ask(gone, Op("delete", f"election/{seats[0]}"))
            else:
                gone(reply)

        def gone(_: Reply) -> None:
            self._badge, self._seat, self._elected = None, None, False
            self.do(lambda core: core.withdrawn(self.clock()))

        self._ask(seen, Op("children", "election"))

    def _look_at_election(self) -> None:
        """Make an election node if there is none; find out whether it is the first."""
        badge = self._badge
        if badge is None or self._elected:
            return

        def seen(reply: Reply) -> None:
            if badge != self._badge or self._elected:
                return
            names = sorted(reply.value[0], key=lambda name: name.partition("-")[2])
            own = [name for name in names if name.startswith(badge)]
            if not own:
                made = Op("create", f"election/{badge}", ephemeral=True)
                self._ask(lambda _: self._look_at_election(), made)
            elif names[0] == own[0]:
                self._seat = f"election/{own[0]}"
                self._ask(wins, Op("get", self._seat))

        def wins(reply: Reply) -> None:
            if badge == self._badge and reply.value is not None and not self._elected:
                self._elected = True
                self.do(lambda core: core.elected(reply.value.czxid, self.clock()))
                self._look_around()

        self._ask(seen, Op("children", "election"), watch=self._look_at_election)

    def _look_around(self) -> None:
        """What only a master reads."""
        self._read_roll()
        self._read_accounts()
        self._read_movers()

    def _deposed(self) -> None:
        self._badge, self._seat, self._elected = None, None, False
        self.do(lambda core: core.deposed("its election node is gone", self.clock()))

    # --- a master's writes ----------------------------------------------------------------------

    def _proclaim(self, reign: Reign) -> None:
        def done(reply: Reply) -> None:
            if reply.error == "no node":
                self._deposed()
            else:
                self.do(lambda core: core.proclaimed(reign.term, self.clock()))

        if self._seat is not None:
            self._ask(done, Op("check", self._seat), Op("set", "master", reign))

    def _store(self, store: asks.Store) -> None:
        allocation = store.document.allocation
        path = f"allocations/{allocation.id}"

        def done(reply: Reply) -> None:
            if reply.error in ("bad version", "exists"):
                self.do(lambda core: core.refused(allocation.id, self.clock()))
                self._read_document(allocation.id)
            elif reply.error:
                self._deposed()
            else:
                base = reply.value.version
                self.do(
                    lambda core: core.stored(allocation.id, allocation.version, base, self.clock())
                )

        if self._seat is None:
            return
        write = Op("set", path, store.document, store.base)
        if store.base == ABSENT:
            write = Op("create", path, store.document)
        self._ask(done, Op("check", self._seat), write)

    def _evict(self, evict: asks.Evict) -> None:
        path = f"directors/{evict.node}"

        def seen(reply: Reply) -> None:
            if reply.value is not None and reply.value.czxid == evict.czxid:
                self._ask(lambda _: None, Op("delete", path))

        self._ask(seen, Op("get", path))

    # --- reading --------------------------------------------------------------------------------

    def _read_reign(self) -> None:
        def seen(reply: Reply) -> None:
            if reply.value is not None and reply.value.data is not None:
                reign: Reign = reply.value.data
                self.do(lambda core: core.reign(reign, self.clock()))

        self._ask(seen, Op("get", "master"), watch=self._read_reign)

    def _read_document(self, number: int) -> None:
        def seen(reply: Reply) -> None:
            node: Znode | None = reply.value
            document: Document | None = None
            base = ABSENT
            if node is not None:
                assert isinstance(node.data, Document)
                document, base = node.data, node.version
            self.do(lambda core: core.document(number, document, base, self.clock()))

        self._ask(
            seen,
            Op("get", f"allocations/{number}"),
            watch=lambda: self._read_document(number),
        )

    def _read_roll(self) -> None:
        """The list first, then each one's czxid."""

        def listed(reply: Reply) -> None:
            names, zxid = reply.value
            found: dict[str, int] = {}

            def looks(rest: list[str]) -> None:
                if not rest:
                    self.do(lambda core: core.roll(Roll(zxid, found), self.clock()))
                    return

                def seen(reply: Reply) -> None:
                    if reply.value is not None:
                        found[rest[0]] = reply.value.czxid
                    looks(rest[1:])

                self._ask(seen, Op("get", f"directors/{rest[0]}"))

            looks(names)

        if self._elected:
            self._ask(listed, Op("children", "directors"), watch=self._read_roll)

    def _read_accounts(self) -> None:
        def listed(reply: Reply) -> None:
            for name in reply.value[0]:
                self._read_account(name)

        if self._elected:
            self._ask(listed, Op("children", "reports"), watch=self._read_accounts)

    def _read_account(self, name: str) -> None:
        def seen(reply: Reply) -> None:
            if reply.value is not None:
                account: Account = reply.value.data
                self.do(lambda core: core.account(account, self.clock()))

        if self._elected:
            self._ask(seen, Op("get", f"reports/{name}"), watch=lambda: self._read_account(name))

    def _read_movers(self) -> None:
        def listed(reply: Reply) -> None:
            names = frozenset(reply.value[0])
            self.do(lambda core: core.movers(names, self.clock()))

        if self._elected:
            self._ask(listed, Op("children", "moved"), watch=self._read_movers)

    # --- beats ----------------------------------------------------------------------------------

    def hear(self, beat: Beat) -> None:
        self.do(lambda core: core.receive(beat, self.clock()))
