# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon whose directors hear of each other by beats."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from msgspec import structs

from saru import control, status
from saru.config import Config, authkeys
from saru.core.action import SendAllocation, SendBeat
from saru.core.beat import Beat, Message
from saru.core.coordinator import Coordinator
from saru.core.share import Order, Share
from saru.core.state import State
from saru.daemon.daemon import SECOND, Daemon, logger
from saru.daemon.keyring import Keyring
from saru.daemon.namesake import Namesake
from saru.daemon.others import Heard
from saru.errors import SaruError
from saru.membership import boottime
from saru.membership.heartbeat import HeartbeatMembership
from saru.state import pause
from saru.state.incarnation import next_incarnation
from saru.status import snapshot
from saru.status.snapshot import Look
from saru.wire.codec import LIFE_BYTES, Codec
from saru.wire.voters import Voters


class HeartbeatDaemon(Daemon):
    """The shell around one Coordinator, and its roads."""

    def __init__(self, config: Config, keys: authkeys.Keys, earlier: int) -> None:
        super().__init__(config, earlier)
        settings = self._settings
        # The incarnation is not known before it is clear whether this goes on as an earlier one.
        self._codec = Codec(
            self._name, 0, keys, settings.divisions, config.cluster.name, Voters.of(settings)
        )
        self._membership = HeartbeatMembership(
            config,
            self._codec,
            self._received,
            self._told,
            on_news=logger.info,
            on_namesake=lambda address: self._namesake.heard(address, boottime()),
        )
        self._namesake = Namesake(self._name, settings.lease, super()._guarded)
        self._core: Coordinator | None = None
        self._pausing = False
        self._has_paused = False
        self._keyring = Keyring(config.heartbeat.authkeys, self._codec, lambda: self.core, boottime)

    @property
    def core(self) -> Coordinator:
        """The coordinator, once it has begun."""
        assert self._core is not None
        return self._core

    def _others(self) -> Heard:
        return Heard(lambda: self.core, boottime, lambda order: self._membership.send(order))

    def _requests(self) -> Mapping[str, control.Answerer]:
        return {"pause": self._pause_asked, "reload": lambda asked: self._keyring.reload(asked)}

    # --- life -----------------------------------------------------------------------------------

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
            self._codec.go_on(left.state.session.incarnation, left.life, left.sequence)
            return self._go_on(left.state)
        former_until = await self._inspect()
        share = self._operator.first(self._config.director.weight)
        incarnation = next_incarnation(self._config.daemon.state, self._config.cluster.name)
        self._codec.go_on(incarnation, os.urandom(LIFE_BYTES), 0)
        now = boottime()
        self._core = Coordinator(
            self._settings, self._name, incarnation, now, former_until=former_until
        )
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

    async def _inspect(self) -> int:
        """Look at the tables of the life before, which run to their deadline and are not renewed.

        The latest deadline; 0 without any. The core deletes them before it takes part (R8). What
        goes on for longer than a lease of this cluster's was set by somebody else, and is deleted
        at once.
        """
        until = 0
        if self._dataplane is None:
            return until
        longest = max(self._settings.lease, self._settings.earlier_lease)
        for number in self._book.holders:
            table = (await self._dataplane.get(number)).table
            left = table.deadline - boottime() if table is not None else 0
            what = f"{self._name}: the kernel's table of id {number}"
            if left > longest:
                await self._dataplane.delete(number)
                logger.warning("%s is deleted: it was not set by a daemon", what)
            elif left > 0:
                until = max(until, table.deadline if table is not None else 0)
                logger.info("%s goes on for %.3g s, and is not renewed", what, left / SECOND)
        return until

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

    async def _connect(self) -> None:
        await self._membership.start()
        self.core.listen_again(boottime())  # what was said until now is lost

    async def _disconnect(self) -> None:
        await self._membership.stop()

    async def _paused(self) -> bool:
        if self._pausing:
            self._has_paused = await self._departure().pause(self.core, self._keep)
        return self.core.suspended

    @property
    def _keeps_tables(self) -> bool:
        return self._has_paused

    async def _keep(self, state: State) -> None:
        await self._membership.stop()
        if self._bug is not None:
            raise self._bug
        pause.leave(self._config, state, self._codec.life, self._codec.sequence)

    # --- events ---------------------------------------------------------------------------------

    def _received(self, message: Message | Order, received: int) -> None:
        if isinstance(message, Order):
            self._operator.obey(message)
        elif isinstance(message, Beat):
            self._do(self.core.receive(message, received))
        else:
            self._do(self.core.receive_allocation(message, received))

    def _told(self, line: str) -> None:
        logger.warning("%s", line)

    def _guarded(self, ok: bool, why: str) -> None:
        self._namesake.guarded(ok, why)

    def _tick(self) -> None:
        self._namesake.tick(boottime())
        super()._tick()

    # --- actions --------------------------------------------------------------------------------

    def _say(self, action: object) -> bool:
        if isinstance(action, SendBeat):
            self._membership.send(structs.replace(action.beat, keys=self._keyring.marks))
        elif isinstance(action, SendAllocation):
            self._membership.send(action.allocation)
        else:
            return False
        return True

    def _follow(self, now: int) -> None:
        core = self.core
        self._book.follow(
            snapshot.reported(core), lambda number: snapshot.held_by(core, number, now), now
        )

    # --- status ---------------------------------------------------------------------------------

    async def _pause_asked(self, arguments: Mapping[str, object]) -> None:
        """End, so that the next daemon goes on as this one; the answer comes before the end."""
        pause.refuse_others(control.arguments_as(arguments, pause.Asked), self._config)
        if self._namesake.address:
            # Whoever goes on from a pause is in it at once, and has not listened for the other.
            raise SaruError(
                f"another daemon called {self._name} is heard from {self._namesake.address}; "
                "give one of the two another director.name"
            )
        self._pausing = True
        asyncio.get_running_loop().call_soon(self._stopping.set)

    async def _snapshot(self, look: Look) -> status.Status:
        return snapshot.take(
            self.core,
            self._config,
            boottime(),
            look,
            membership=self._membership.counters(),
            keys=self._keyring.status(),
            roads=self._membership.troubles(),
            namesake=self._namesake.address,
        )
