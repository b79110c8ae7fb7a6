# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon: carries out the core's actions, feeds events back, and decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import sdnotify
from msgspec import structs

from saru import authkeys, control, earlier_lease, log, pause, realtime, snapshot, status
from saru.book import Book
from saru.config import Config
from saru.core.action import Action, Change, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Beat, Message
from saru.core.coordinator import Coordinator
from saru.core.reach import Reach
from saru.core.share import Order, Share
from saru.core.state import State
from saru.core.term import Version
from saru.dataplane import Dataplane, TableState
from saru.dataplane.choice import fixed, made
from saru.departure import Departure
from saru.incarnation import next_incarnation
from saru.keyring import Keyring
from saru.lock import Lock
from saru.membership import boottime
from saru.membership.heartbeat import HeartbeatMembership
from saru.membership.ping import Pinger
from saru.operator import Drained, Operator, Shell
from saru.pusher import Pusher
from saru.rules.guard import Guard
from saru.wire import Codec

SECOND = 1_000_000_000
ALARMING = {Change.LATE, Change.SILENT, Change.REFUSED, Change.LAPSED, Change.RESIGNED}

logger = logging.getLogger("saru")


def run(config: Config, debug: bool, log_facility: str | None) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises SaruError for what it cannot run without."""
    where = log.destination(
        log_facility, debug=debug, configured=config.log.facility, environment=os.environ
    )
    with Lock.acquire(config.daemon.run, config.cluster.name):
        log.set_up(where, debug=debug or config.log.debug)
        keys = authkeys.load(config.heartbeat.authkeys)
        for text in (*config.warnings, *config.caveats()):
            logger.warning("%s", text)
        earlier = earlier_lease.remember(
            config.daemon.state, config.cluster.name, config.times.deadtime
        )
        realtime.run(Daemon(config, keys, earlier).main(), wanted=config.daemon.realtime)


class Daemon:
    """The shell around one Coordinator: its clock, its roads, its hand in the kernel."""

    def __init__(self, config: Config, keys: authkeys.Keys, earlier: int) -> None:
        config, self._plane = fixed(config)
        self._config = config
        settings = structs.replace(config.settings(), earlier_lease=earlier)
        self._settings = settings
        self._book = Book(settings.divisions, boottime())
        # The incarnation is not known before it is clear whether this goes on as an earlier one.
        self._codec = Codec(config.director.name, 0, keys, settings.divisions, config.cluster.name)
        self._membership = HeartbeatMembership(
            config, self._codec, self._received, self._told, on_news=logger.info
        )
        kind = config.director.dataplane
        self._dataplane: Dataplane | None = None if config.witness else made(kind)
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
        self._core: Coordinator | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._pausing = False
        self._paused = False
        self._bug: BaseException | None = None
        self._moved = asyncio.Event()
        self._keyring = Keyring(config.heartbeat.authkeys, self._codec, lambda: self.core, boottime)
        self._systemd = sdnotify.SystemdNotifier()
        self._operator = Operator(
            Shell(
                now=boottime,
                core=lambda: self.core,
                holders=lambda: self._book.holders,
                do=self._do,
                order=self._membership.send,
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
                "pause": self._pause_asked,
                "reload": self._keyring.reload,
            },
        )

    @property
    def _name(self) -> str:
        return self._config.director.name

    @property
    def core(self) -> Coordinator:
        """The coordinator, once it has begun."""
        assert self._core is not None
        return self._core

    # --- life -----------------------------------------------------------------------------------

    async def main(self) -> None:
        """Run until told to stop.

        The tables are empty before the first beat (R8) and after the last, but for a pause.
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
            await self._membership.start()
            stack.push_async_callback(self._membership.stop)
            self._do(self.core.apportion(share, boottime()))  # a beat goes out: there are roads now
            await self._control.start()
            stack.push_async_callback(self._control.stop)
            if self._pusher is not None and self._guard is not None:
                tasks += [self._pusher.run(), self._guard.run(self._guarded)]
            if self._pinger is not None:
                tasks.append(self._pinger.run())
            await self._live(tasks)

    def _hung_up(self) -> None:
        """SIGHUP: read the keys again; before there is a core, they have only just been read."""
        if self._core is not None:
            self._keyring.load_or_tell()

    async def _begin(self) -> Share:
        """Go on where a paused daemon stopped, or start; the share to begin with."""
        try:
            left = await pause.inherit(self._config, self._dataplane)
        except pause.DoubtError as why:
            logger.warning("%s: does not go on where it paused: %s", self._name, why)
            left = None
        if left is not None:
            self._codec.go_on(left.state.session.incarnation, left.sequence)
            return self._go_on(left.state)
        await self._empty()
        share = self._operator.first(self._config.director.weight)
        incarnation = next_incarnation(self._config.daemon.state, self._config.cluster.name)
        self._codec.go_on(incarnation, 0)
        now = boottime()
        self._core = Coordinator(self._settings, self._name, incarnation, now)
        logger.info(
            "%s: starts (incarnation %d, takes part in %.3g s)",
            self._name,
            incarnation,
            self._settings.start_wait / SECOND,
        )
        if share.drained:
            logger.info(
                "%s: is drained still (asked for at %s; saru undrain ends that)",
                self._name,
                share.by,
            )
        return share

    def _go_on(self, state: State) -> Share:
        now = boottime()
        self._core = Coordinator.resume(self._settings, state, now)
        logger.info(
            "%s: goes on after a pause of %.3g s (session %s, %s)",
            self._name,
            (now - state.at) / SECOND,
            state.session,
            f"{(state.lease - now) / SECOND:.3g} s of its lease left"
            if now < state.lease
            else "its lease has passed",
        )
        share, first = state.share, self._operator.first(self._config.director.weight)
        if not share.grants(weight=first.weight, drained=first.drained):
            share = share.changed(first.by, weight=first.weight, drained=first.drained)
        if self._pinger is None:  # there were ping nodes before, perhaps
            self._core.yielding.reach = None
        return share

    async def _empty(self) -> None:
        if self._pusher is not None and not self._paused:
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

    async def _depart(self) -> None:
        self._systemd.notify("STOPPING=1")
        departure = Departure(self.core, self._pusher, self._do, self._until)
        if self._pausing:
            self._paused = await departure.pause(self._keep)
        if not self.core.suspended:
            await departure.leave()

    async def _keep(self, state: State) -> None:
        await self._membership.stop()
        if self._bug is not None:
            raise self._bug
        pause.leave(self._config, state, self._codec.sequence)

    async def _until(self, so: Callable[[], bool]) -> None:
        """Wait until something is so; it can become so with any event."""
        while not so():
            self._moved.clear()
            await self._moved.wait()

    # --- events ---------------------------------------------------------------------------------

    def _received(self, message: Message | Order, received: int) -> None:
        if isinstance(message, Order):
            self._operator.obey(message)
        elif isinstance(message, Beat):
            self._do(self.core.receive(message, received))
        else:
            self._do(self.core.receive_allocation(message, received))

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

    def _told(self, line: str) -> None:
        logger.warning("%s", line)

    # --- actions --------------------------------------------------------------------------------

    def _do(self, actions: list[Action]) -> None:
        """Carry out what an event brought about, and arrange the next wake-up."""
        for action in actions:
            self._carry_out(action)
        self._moved.set()
        now = boottime()
        self._book.follow(self.core, now)
        # asyncio's clock stops in a suspend and CLOCK_BOOTTIME does not: look again each second.
        delay = min((self.core.wake(now) - now) / SECOND, 1.0)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, SendBeat):
            self._membership.send(structs.replace(action.beat, keys=self._keyring.marks))
        elif isinstance(action, SendAllocation):
            self._membership.send(action.allocation)
        elif isinstance(action, Note):
            self._tell(action)
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
            earlier_lease.forget(config.daemon.state, config.cluster.name, config.times.deadtime)

    # --- status ---------------------------------------------------------------------------------

    async def _pause_asked(self, arguments: Mapping[str, object]) -> None:
        """End, so that the next daemon goes on as this one; the answer comes before the end."""
        pause.refuse_others(control.arguments_as(arguments, pause.Asked), self._config)
        self._pausing = True
        asyncio.get_running_loop().call_soon(self._stopping.set)

    async def _status(self, _arguments: Mapping[str, object]) -> status.Status:
        tables: list[TableState] = []
        if self._dataplane is not None:
            tables = [await self._dataplane.get(number) for number in self._book.holders]
        guard = await self._guard.status() if self._guard else _WITNESS
        now = boottime()
        return snapshot.take(
            self.core,
            self._config,
            now,
            holders=self._book.holders,
            tables=tables,
            guard=guard,
            counters=snapshot.counters(
                self._membership.counters(),
                self._book.counts,
                self._pusher.stale if self._pusher else 0,
            ),
            keys=self._keyring.status(),
            dataplane=self._dataplane.name if self._dataplane else "none",
            ping=self._pinger.status() if self._pinger else (),
            roads=self._membership.troubles(),
        )


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


_WITNESS = status.Guard(ok=True, state="not configured", vip="not ours to set")
