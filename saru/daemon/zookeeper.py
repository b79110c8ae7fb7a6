# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon whose directors agree by ZooKeeper."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping

from msgspec import structs

from saru import control, status
from saru.config import Config, authkeys
from saru.core.action import SendBeat
from saru.core.beat import Beat, Message
from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.ensemble.record import Account
from saru.core.share import Order, Share
from saru.daemon.daemon import SECOND, Daemon, logger
from saru.daemon.others_zookeeper import Registered
from saru.errors import SaruError
from saru.membership import boottime
from saru.membership.heartbeat import HeartbeatMembership
from saru.membership.znode import LostError
from saru.membership.zookeeper import ZookeeperMembership
from saru.state.incarnation import next_incarnation
from saru.status import snapshot_zookeeper
from saru.status.snapshot import Look
from saru.wire.codec import LIFE_BYTES, Codec
from saru.wire.voters import Voters

ANSWER = 2.0
"""Seconds that the status waits for what others say of themselves."""


class ZookeeperDaemon(Daemon):
    """The shell around one EnsembleCoordinator; with the fail-safe, it has roads for beats too."""

    def __init__(self, config: Config, keys: authkeys.Keys, earlier: int) -> None:
        super().__init__(config, earlier)
        settings = self._settings
        self._marks = authkeys.marks(keys)
        self._codec = Codec(
            self._name, 0, keys, settings.divisions, config.cluster.name, Voters.of(settings)
        )
        self._beats: HeartbeatMembership | None = None
        if config.zookeeper.failsafe:
            self._beats = HeartbeatMembership(
                config, self._codec, self._received, logger.warning, on_news=logger.info
            )
        self._membership = ZookeeperMembership(
            config,
            settings,
            core=lambda: self.core,
            do=self._do,
            on_order=self._operator.obey,
            on_fault=self._fault,
        )
        self._core: EnsembleCoordinator | None = None
        self._accounts: Mapping[str, Account] = {}
        self._read = 0  # when that was so

    @property
    def core(self) -> EnsembleCoordinator:
        """The core, once it has begun."""
        assert self._core is not None
        return self._core

    def _others(self) -> Registered:
        return Registered(lambda: self.core, lambda: self._membership)

    def _requests(self) -> Mapping[str, control.Answerer]:
        return {"pause": _no_pause, "reload": _no_reload}

    def _hung_up(self) -> None:
        logger.warning("%s: SIGHUP: the keys are read at the start alone", self._name)

    # --- life -----------------------------------------------------------------------------------

    async def _begin(self) -> Share:
        await self._empty()
        await self._membership.enter()
        share = self._operator.first(self._config.director.weight)
        incarnation = next_incarnation(self._config.daemon.state, self._config.cluster.name)
        self._codec.go_on(incarnation, os.urandom(LIFE_BYTES), 0)
        self._core = EnsembleCoordinator(self._settings, self._name, incarnation, boottime())
        logger.info("%s: starts (membership by ZooKeeper)", self._name)
        if share.drained:
            logger.info("%s: is drained still (asked for at %s)", self._name, share.by)
        return share

    async def _connect(self) -> None:
        if self._beats is not None:
            await self._beats.start()
        self._membership.start()

    async def _disconnect(self) -> None:
        await self._membership.stop()
        if self._beats is not None:
            await self._beats.stop()

    async def _depart(self) -> None:
        await super()._depart()
        # The others need not wait for silence after a farewell that they can read.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.lease / SECOND):
                await self._until(lambda: self._membership.said_farewell)

    def _fault(self, error: BaseException) -> None:
        """What the membership cannot go on from."""
        self._bug = error
        self._stopping.set()

    # --- events and actions ---------------------------------------------------------------------

    def _received(self, message: Message | Order, received: int) -> None:
        if isinstance(message, Beat):
            self._do(self.core.receive(message, received))

    def _say(self, action: object) -> bool:
        if isinstance(action, SendBeat):
            if self._beats is not None:
                self._beats.send(structs.replace(action.beat, keys=self._marks))
            return True
        return self._membership.carry_out(action)

    def _follow(self, now: int) -> None:
        core = self.core
        self._book.follow(
            snapshot_zookeeper.reported(core, now),
            lambda number: snapshot_zookeeper.held_by(core, number, now),
            now,
        )

    # --- status ---------------------------------------------------------------------------------

    async def _snapshot(self, look: Look) -> status.Status:
        with contextlib.suppress(LostError, TimeoutError):
            async with asyncio.timeout(ANSWER):
                self._accounts = await self._membership.accounts()
                self._read = boottime()
        return snapshot_zookeeper.take(
            self.core,
            self._config,
            boottime(),
            look,
            accounts=self._accounts,
            read=self._read,
            ensemble=self._membership.status(),
            beats=self._beats.counters() if self._beats else {},
            roads=self._beats.troubles() if self._beats else (),
        )


async def _no_pause(_arguments: control.Arguments) -> None:
    raise SaruError(
        'a daemon with membership = "zookeeper" cannot pause: its session ends with it; drain it '
        "first (saru drain), or stop it (systemctl stop saru)"
    )


async def _no_reload(_arguments: control.Arguments) -> None:
    raise SaruError('with membership = "zookeeper" the keys are read at the start alone')
