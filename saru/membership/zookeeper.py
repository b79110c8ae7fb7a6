# SPDX-License-Identifier: GPL-2.0-or-later
"""Membership by ZooKeeper: carries out what the core asks of it, and tells the core what is there.

Decides nothing. What each request and event means, and why it is safe, stands with the core
(saru/core/ensemble). Each session is a Keeper of its own; what an earlier one is late with is
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from saru import status
from saru.config.tree import Config
from saru.core.ensemble.action import (
    EnsembleAction,
    Evict,
    Move,
    Proclaim,
    Register,
    Report,
    Stand,
    Store,
    Touch,
    Withdraw,
)
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import Account, term_of
from saru.core.settings import Settings
from saru.core.share import Order
from saru.core.term import Term
from saru.membership import access, boottime
from saru.membership.candidacy import Candidacy
from saru.membership.entrance import enter
from saru.membership.errands import DeposedError, Errands
from saru.membership.keeper import Keeper, Watch
from saru.membership.places import Places, mark
from saru.membership.readings import Readings
from saru.membership.terms import DifferingError, agree
from saru.membership.view import Read, View
from saru.membership.znode import LostError, RacedError, Tie, Znode

Event = Callable[..., list[EnsembleAction]]
Errand = Register | Touch | Report | Proclaim | Store | Evict | Move
ERRANDS = (Register, Touch, Report, Proclaim, Store, Evict, Move)
Actions = list[EnsembleAction]

logger = logging.getLogger("saru")


class ZookeeperMembership:
    """Between one core and ZooKeeper. `do` carries out what an event of the core's brought about.

    `on_order` is called with orders for this director, `on_fault` with what it cannot go on from.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        core: Callable[[], EnsembleCoordinator],
        do: Callable[[Actions], None],
        on_order: Callable[[Order], None],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._config = config.zookeeper
        self._name = config.director.name
        self._settings = settings
        self._blocks = {division.id: division.blocks for division in settings.divisions}
        self._places = Places(config.zookeeper.root, config.cluster.name)
        self._get_core = core
        self._do = do
        self._on_fault = on_fault
        self._readings = Readings(
            self._session, self._places, self._name, self._blocks, core, self._answer, on_order
        )
        self._auth: tuple[tuple[str, str], ...] = ()
        self._keeper: Keeper | None = None
        self._errands: Errands | None = None
        self._there = asyncio.Event()  # connected, and the settings agree
        self._terms: Znode | None = None  # the settings, as we agreed on them
        self._differs: tuple[str, ...] = ()
        self._waiting = ""  # for what, if it cannot register
        self._requests: set[asyncio.Task[None]] = set()  # go with the connection
        self._reading: set[asyncio.Task[None]] = set()  # go with the session
        self._views: set[View] = set()
        self._office: list[asyncio.Task[None]] = []  # the views that a master alone has
        self._candidacy: Candidacy | None = None
        self._won = ""  # the path of our election node, once it is the first
        self._election: tuple[Term | None, str] = (None, "")  # our newest term, and its node
        self.said_farewell = False
        """What it reported last is that it leaves."""
        self._sessions = 0
        self._asked = 0

    @property
    def _core(self) -> EnsembleCoordinator:
        return self._get_core()

    # --- life -----------------------------------------------------------------------------------

    async def enter(self) -> None:
        """Find out whether ZooKeeper can be had, and make what lasts. Raises SaruError."""
        self._auth = access.credentials(self._config)
        await enter(self._config, self._places.lasting())

    def start(self) -> None:
        """Begin a session, and another one whenever it ends."""

        def tied(tie: Tie) -> None:
            self._tied(keeper, tie)

        self._keeper = keeper = Keeper(self._config, self._auth, tied, self._settings.lease)
        self._errands = Errands(keeper, self._places, self._name, mark(), self._blocks)
        self._sessions += 1
        keeper.open()

    async def stop(self) -> None:
        """End the session: what the others see of this director goes at once."""
        keeper, self._keeper = self._keeper, None
        self._forget()
        if keeper is not None:
            await keeper.close(1.0)

    def _tied(self, keeper: Keeper, tie: Tie) -> None:
        if keeper is not self._keeper:
            return
        if tie is Tie.CONNECTED:
            self._request(self._greet(keeper))
            return
        self._cancel(self._requests)
        self._terms = None
        if self._there.is_set():
            self._there.clear()
            logger.warning("%s: the connection with ZooKeeper is gone", self._name)
            self._tell(self._core.disconnected)
        if tie is Tie.LOST:
            logger.warning("%s: the session with ZooKeeper has ended", self._name)
            self._forget()
            self._request(keeper.close())
            self._tell(self._core.deposed, "its session with ZooKeeper has ended")
            self._tell(self._core.unregistered, "its session with ZooKeeper has ended")
            self.start()

    def _forget(self) -> None:
        """What belonged to a session goes with it."""
        self._there.clear()
        self._withdraw()
        self._cancel(self._requests)
        self._cancel(self._reading)
        self._views.clear()

    async def _greet(self, keeper: Keeper) -> None:
        """A connection: the settings first, for L must be the same for all."""
        changed = asyncio.Event()

        def look() -> None:
            self._terms = None
            changed.set()

        while self._terms is None:
            changed.clear()
            try:
                self._terms = await agree(keeper, self._places, self._settings, look)
            except DifferingError as why:
                self._differs = why.keys
                logger.error("%s: waits: %s", self._name, why)
                await changed.wait()
        self._differs = ()
        logger.info("%s: is connected with ZooKeeper at %s", self._name, keeper.server)
        self._there.set()
        self._tell(self._core.connected)
        if not self._views:
            for read in self._readings.of_all():
                self._watch(read)
        for view in self._views:
            view.look()
        if self._won and self._won != self._election[1]:
            self._elected(self._won)

    # --- what the core asks ---------------------------------------------------------------------

    def carry_out(self, action: object) -> bool:
        """Ask ZooKeeper for it; False if it is nothing for ZooKeeper."""
        if isinstance(action, Withdraw):
            self._withdraw()
        elif isinstance(action, Stand):
            self._stand()
        elif isinstance(action, ERRANDS):
            if self._keeper is not None and self._errands is not None:
                self._asked += 1
                self._request(self._run(self._errands, action))
        else:
            return False
        return True

    async def _run(self, errands: Errands, action: Errand) -> None:
        """One errand, and the event that answers it."""
        core = self._core
        try:
            if isinstance(action, Touch):
                czxid = await errands.touch(action.number)
                self._answer(core.touched, action.number, czxid)
            elif isinstance(action, Report):
                await errands.report(action.account)
                self.said_farewell = action.account.left
                self._answer(core.reported, action.account.seq)
            elif isinstance(action, Register):
                czxid = await errands.register(lambda: self._terms, self._waits)
                self._waiting = ""
                self._answer(core.registered, czxid)
            elif isinstance(action, Proclaim):
                await errands.proclaim(action.reign, self._node_of(action.reign.term))
                self._answer(core.proclaimed, action.reign.term)
            elif isinstance(action, Store):
                allocation = action.document.allocation
                base = await errands.store(action, self._node_of(action.term))
                self._answer(core.stored, allocation.id, allocation.version, base)
            elif isinstance(action, Evict):
                await errands.evict(action.node, action.czxid)
            elif isinstance(action, Move):
                await errands.move()
                self._answer(core.has_moved)
        except DeposedError as why:
            self._withdraw()
            self._answer(core.deposed, str(why))
        except RacedError:
            self._raced(action)

    def _raced(self, action: Errand) -> None:
        """Somebody else was first."""
        if isinstance(action, Store):
            self._answer(self._core.refused, action.document.allocation.id)
            for view in self._views:
                view.look()
        elif isinstance(action, Touch):
            self._answer(self._core.unregistered, "its znode is gone")
        elif isinstance(action, Register) and self._keeper is not None:
            # Other settings since: as after a new connection.
            self._there.clear()
            self._terms = None
            self._tell(self._core.disconnected)
            self._request(self._greet(self._keeper))

    def _waits(self) -> None:
        if not self._waiting:
            self._waiting = (
                f"another director called {self._name} is registered with ZooKeeper: an earlier "
                "one of this host, whose session has yet to end, or another host's"
            )
            logger.warning("%s: waits: %s", self._name, self._waiting)

    def _node_of(self, term: Term) -> str:
        """The path of our election node of that term; one that is not there if it is no more."""
        newest, path = self._election
        return path if newest == term else f"{self._places.election}/none"

    # --- the office -----------------------------------------------------------------------------

    def _stand(self) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        self._withdraw()
        self._candidacy = keeper.stand(self._places.election, self._name, self._elected)

    def _elected(self, path: str) -> None:
        self._won = path
        if self._keeper is not None and self._there.is_set():
            self._request(self._take_office(self._keeper, path))

    async def _take_office(self, keeper: Keeper, path: str) -> None:
        found = await keeper.get(path)
        if self._won != path or not self._there.is_set():
            return
        if found is None:  # deleted by an administrator
            self._withdraw()
            self._answer(self._core.deposed, "its election node is gone")
            return
        self._election = (term_of(found.czxid), path)
        self._answer(self._core.elected, found.czxid)
        if not self._office:
            self._office += map(self._watch, self._readings.of_master(self._watch_too))

    def _watch_too(self, read: Read) -> asyncio.Task[None]:
        """What a master finds out that it has to watch."""
        task = self._watch(read)
        self._office.append(task)
        return task

    def _withdraw(self) -> None:
        if self._candidacy is not None:
            self._candidacy.withdraw()
        self._candidacy, self._won, self._election = None, "", (None, "")
        office, self._office = self._office, []
        for task in office:
            task.cancel()

    # --- for people -----------------------------------------------------------------------------

    async def accounts(self) -> Mapping[str, Account]:
        """What all registered directors say of themselves now; LostError if that cannot be had."""
        return await self._readings.accounts()

    async def order(self, order: Order) -> None:
        """Leave an order where its director sees it. Raises LostError."""
        keeper, path = self._session(), f"{self._places.orders}/{order.node}"
        data = msgspec.msgpack.encode(order)
        try:
            await keeper.put(path, data)
        except RacedError:
            with contextlib.suppress(RacedError):  # it is sent anew in a moment
                await keeper.create(path, data)

    def status(self) -> status.Ensemble:
        """How it stands with ZooKeeper."""
        keeper = self._keeper
        return status.Ensemble(
            session=f"{keeper.session:#x}" if keeper is not None and keeper.session else None,
            server=keeper.server if keeper is not None else "",
            connected=self._there.is_set(),
            sessions=self._sessions,
            requests=self._asked,
            differs=self._differs,
            waiting=self._waiting,
        )

    # --- inside ---------------------------------------------------------------------------------

    def _session(self) -> Keeper:
        if self._keeper is None or not self._there.is_set():
            raise LostError("there is no connection with ZooKeeper")
        return self._keeper

    def _tell(self, event: Event, *arguments: object) -> None:
        """An event, at this moment: after whatever it tells of."""
        self._do(event(*arguments, boottime()))

    def _answer(self, event: Event, *arguments: object) -> None:
        """As `_tell`, of what ZooKeeper said; without a connection by now the core asks again."""
        if self._there.is_set():
            self._tell(event, *arguments)

    def _watch(self, read: Read) -> asyncio.Task[None]:
        async def sound(watch: Watch) -> bool:
            try:
                return await read(watch)
            except ValueError as why:
                logger.error("%s: a znode makes no sense: %s", self._name, why)
                return True

        view = View(self._session(), self._there, sound)
        self._views.add(view)
        task = self._spawn(view.run(), self._reading)
        task.add_done_callback(lambda _: self._views.discard(view))
        return task

    def _request(self, work: Coroutine[Any, Any, None]) -> None:
        self._spawn(work, self._requests)

    def _spawn(
        self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        among.add(task)

        def done(task: asyncio.Task[None]) -> None:
            among.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, LostError):
                self._on_fault(error)

        task.add_done_callback(done)
        return task

    @staticmethod
    def _cancel(tasks: set[asyncio.Task[None]]) -> None:
        for task in list(tasks):
            if task is not asyncio.current_task():
                task.cancel()
