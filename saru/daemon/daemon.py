# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon: carries out the core's actions, feeds events back, and decides nothing itself.

What is the same for every membership is here; `saru.daemon.heartbeat` and `saru.daemon.zookeeper`
have the rest.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import sdnotify
from msgspec import structs

from saru import control, status
from saru.config import Config
from saru.core.action import Change, Drop, Note, Push, Renew
from saru.core.participant import Participant
from saru.core.reach import Reach
from saru.core.share import Share
from saru.core.term import Version
from saru.daemon.departure import Departure
from saru.daemon.operator import Drained, Operator, Shell
from saru.daemon.others import Others
from saru.daemon.pusher import Pusher
from saru.dataplane import Dataplane, TableState
from saru.dataplane.choice import fixed, made
from saru.errors import SaruError
from saru.membership import boottime
from saru.membership.ping import Pinger
from saru.rules.guard import Guard
from saru.state import earlier_lease
from saru.status.book import Book
from saru.status.snapshot import Look

SECOND = 1_000_000_000
ALARMING = {Change.LATE, Change.SILENT, Change.REFUSED, Change.LAPSED, Change.RESIGNED}

logger = logging.getLogger("saru")


class Daemon(abc.ABC):
    """The shell around one core: its clock, its hand in the kernel, its operator."""

    def __init__(self, config: Config, earlier: int) -> None:
        config, self._plane = fixed(config)
        self._config = config
        settings = structs.replace(config.settings(), earlier_lease=earlier)
        self._settings = settings
        self._book = Book(settings.divisions, boottime())
        kind = config.director.dataplane
        mark = config.daemon.run / f"{config.cluster.name}.hurry"
        self._dataplane: Dataplane | None = None if config.witness else made(kind, mark)
        self._pusher: Pusher | None = None
        self._guard: Guard | None = None
        if self._dataplane is not None:
            self._pusher = Pusher(
                self._dataplane,
                settings.divisions,
                settings.lease,
                pushed=self._pushed,
                late=self._late,
                dropped=self._dropped,
            )
            self._guard = Guard(config, self._dataplane)
        self._pinger: Pinger | None = None
        if config.ping.nodes and not config.witness:
            self._pinger = Pinger(config.ping, self._reaches)
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._bug: BaseException | None = None
        self._moved = asyncio.Event()
        self._systemd = sdnotify.SystemdNotifier()
        self._operator = Operator(
            Shell(
                now=boottime,
                core=lambda: self.core,
                holders=lambda: self._book.holders,
                do=self._do,
                others=self._others(),
                stop=self._stopping.set,
                until=self._until,
            ),
            Drained(config.daemon.state, config.cluster.name),
        )
        self._control = control.Control(
            control.socket_path(config.daemon.run, config.cluster.name),
            {
                "status": self._status,
                "share": self._operator.share,
                "leave": self._operator.leave,
                **self._requests(),
            },
        )

    @property
    def _name(self) -> str:
        return self._config.director.name

    # --- what a membership has ------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def core(self) -> Participant[Any]:
        """The core, once it has begun."""

    @abc.abstractmethod
    def _others(self) -> Others:
        """The other directors, for the operator."""

    @abc.abstractmethod
    def _requests(self) -> Mapping[str, control.Answerer]:
        """What can be asked of this membership's daemon alone."""

    @abc.abstractmethod
    async def _begin(self) -> Share:
        """Make the core; the share to begin with."""

    @abc.abstractmethod
    async def _connect(self) -> None:
        """Begin to hear of the others. Raises SaruError for what will not mend itself."""

    @abc.abstractmethod
    async def _disconnect(self) -> None:
        """Say and hear nothing more."""

    @abc.abstractmethod
    def _say(self, action: Any) -> bool:
        """Carry out an action that is for others; False if it is not."""

    @abc.abstractmethod
    def _follow(self, now: int) -> None:
        """Note in the book who holds what."""

    @abc.abstractmethod
    async def _snapshot(self, look: Look) -> status.Status:
        """What is so, beside `look`."""

    @abc.abstractmethod
    def _hung_up(self) -> None:
        """SIGHUP."""

    async def _paused(self) -> bool:
        """Pause, if that is how it shall end and it can be done."""
        return False

    @property
    def _keeps_tables(self) -> bool:
        """Whether the tables stay for the next daemon."""
        return False

    # --- life -----------------------------------------------------------------------------------

    async def main(self) -> None:
        """Run until told to stop.

        The tables are empty after the last word, but for a pause; what of a life before is in them
        is R8's business.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._broke)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        tasks = []
        async with contextlib.AsyncExitStack() as stack:
            if self._dataplane is not None and self._pusher is not None:
                await self._dataplane.open()
                logger.info("data plane: %s, because %s", self._dataplane.name, self._plane)
                stack.push_async_callback(self._dataplane.close)
                stack.push_async_callback(self._empty)
            share = await self._begin()
            await self._connect()
            stack.push_async_callback(self._disconnect)
            self._do(self.core.apportion(share, boottime()))  # the first word: there are roads now
            await self._control.start()
            stack.push_async_callback(self._control.stop)
            if self._pusher is not None and self._guard is not None:
                tasks += [self._pusher.run(), self._guard.run(self._guarded)]
            if self._pinger is not None:
                tasks.append(self._pinger.run())
            await self._live(tasks)

    async def _empty(self) -> None:
        if self._pusher is not None and not self._keeps_tables:
            await self._pusher.empty()

    async def _live(self, work: Iterable[Awaitable[None]]) -> None:
        """Wait for the end: a signal, or a task that fails."""
        tasks = [asyncio.ensure_future(each) for each in work]
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
            if self._bug is not None:
                raise self._bug
            if stop in done:
                await self._depart()
            for task in done - {stop}:
                task.result()
        except ExceptionGroup as group:
            # The user is told of the one thing that went wrong, not of the tasks around it.
            raise _innermost(group) from None
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (*tasks, stop):
                task.cancel()
            await asyncio.gather(*tasks, stop, return_exceptions=True)

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug: end, with empty tables, before it does harm. Another start is a clean one."""
        loop.default_exception_handler(context)
        self._bug = context.get("exception") or RuntimeError(context["message"])
        self._stopping.set()

    def _departure(self) -> Departure:
        return Departure(self.core, self._pusher, self._do, self._until)

    async def _depart(self) -> None:
        self._systemd.notify("STOPPING=1")
        if not await self._paused():
            await self._departure().leave()
            if self._guard is not None:
                await self._guard.retire()

    async def _until(self, so: Callable[[], bool]) -> None:
        """Wait until something is so; it can become so with any event."""
        while not so():
            self._moved.clear()
            await self._moved.wait()

    # --- events ---------------------------------------------------------------------------------

    def _pushed(self, number: int, version: Version, ok: bool) -> None:
        self._do(self.core.pushed(number, version, ok, boottime()))

    def _late(self, number: int, version: Version) -> None:
        self._do(self.core.stale(number, version, boottime()))

    def _dropped(self) -> None:
        self._do(self.core.dropped(boottime()))

    def _guarded(self, ok: bool, why: str) -> None:
        self._do(self.core.guard(ok, why, boottime()))

    def _reaches(self, reach: Reach | None) -> None:
        self._do(self.core.reaches(reach, boottime()))

    def _tick(self) -> None:
        self._do(self.core.tick(boottime()))

    # --- actions --------------------------------------------------------------------------------

    def _do(self, actions: list[Any]) -> None:
        """Carry out what an event brought about, and arrange the next wake-up."""
        for action in actions:
            self._carry_out(action)
        self._moved.set()
        now = boottime()
        self._follow(now)
        # asyncio's clock stops in a suspend and CLOCK_BOOTTIME does not: look again each second.
        delay = min((self.core.wake(now) - now) / SECOND, 1.0)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _carry_out(self, action: Any) -> None:
        if isinstance(action, Note):
            self._tell(action)
        elif self._say(action):
            pass
        elif self._pusher is None:
            if isinstance(action, Drop):  # a witness has no tables
                asyncio.get_running_loop().call_soon(self._dropped)
        elif isinstance(action, Push):
            self._pusher.push(action)
        elif isinstance(action, Renew):
            self._pusher.renew(action)
        else:
            self._pusher.drop()

    def _tell(self, note: Note) -> None:
        level = logging.WARNING if note.change in ALARMING else logging.INFO
        logger.log(level, "%s", note)
        self._book.count(note.change)
        if note.change is Change.READY:
            self._systemd.notify("READY=1")
            config = self._config
            try:
                earlier_lease.forget(
                    config.daemon.state, config.cluster.name, config.times.deadtime
                )
            except SaruError as error:  # no more than a longer wait at the next start
                logger.warning("%s: %s", config.director.name, error)

    # --- status ---------------------------------------------------------------------------------

    async def _status(self, _arguments: Mapping[str, object]) -> status.Status:
        tables: list[TableState] = []
        if self._dataplane is not None:
            tables = [await self._dataplane.get(number) for number in self._book.holders]
        return await self._snapshot(
            Look(
                holders=self._book.holders,
                tables=tables,
                guard=await self._guard.status() if self._guard else _WITNESS,
                counts=self._book.counts,
                late_pushes=self._pusher.stale if self._pusher else 0,
                dataplane=self._dataplane.name if self._dataplane else "none",
                ping=self._pinger.status() if self._pinger else (),
            )
        )


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


_WITNESS = status.Guard(ok=True, state="not configured", vip="not ours to set")
