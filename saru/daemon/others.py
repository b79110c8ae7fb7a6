# SPDX-License-Identifier: GPL-2.0-or-later
"""The other directors, as an operator's request finds them: by their beats, or in ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from saru.core.coordinator import Coordinator
from saru.core.share import Order, Share
from saru.errors import SaruError, UsageError
from saru.status import duration


class Other(msgspec.Struct, frozen=True):
    """What another director says of its share, and in which life it says so."""

    share: Share
    incarnation: int


class Others(Protocol):
    """What there is to know of the others, and how they are told."""

    async def refresh(self) -> None:
        """Find out what is so now, where that is not known anyway. Raises SaruError."""

    def get(self, node: str) -> Other:
        """The director `node`. Raises what is wrong if there is none whose share can be changed."""

    def takers(self) -> set[str]:
        """Who of them could take blocks now."""

    async def order(self, order: Order) -> None:
        """Tell `order.node`; it may get lost, or come more than once. Raises SaruError."""


class Heard:
    """By their beats, which `core` has heard. `send` sends an order to everybody."""

    def __init__(
        self,
        core: Callable[[], Coordinator],
        now: Callable[[], int],
        send: Callable[[Order], None],
    ) -> None:
        self._core = core
        self._now = now
        self._send = send

    async def refresh(self) -> None:
        """Nothing: they are heard all the time."""

    def get(self, node: str) -> Other:
        """The director `node`, by its newest beat."""
        core, now = self._core(), self._now()
        known = sorted({core.node, *core.peers} - set(core.settings.witnesses))
        if node in core.settings.witnesses:
            raise UsageError(f"{node} is a witness, which holds no blocks")
        if node not in core.peers:
            raise UsageError(f"there is no director {node}; there are {', '.join(known)}")
        if node in core.refused:
            keys = ", ".join(core.refused[node])
            raise SaruError(f"{node} is refused: its settings differ in {keys}")
        peer = core.peers[node]
        if peer.beat is None:
            raise SaruError(f"{node} has never been heard; ask it on its own host")
        if peer.beat.left:
            raise SaruError(f"{node} has left: its daemon does not run")
        if not peer.fresh(now, core.settings.lease):
            silence = duration((now - peer.received) // 1_000_000)
            raise SaruError(f"{node} has been silent for {silence}; ask it on its own host")
        if peer.beat.share is None:
            raise SaruError(f"{node} runs an older release, which takes no orders")
        return Other(peer.beat.share, peer.beat.session.incarnation)

    def takers(self) -> set[str]:
        """Those in contact that are able, and have a weight."""
        core = self._core()
        beats = [p.beat for p in core.contacts(self._now()) if p.beat is not None]
        return {b.node for b in beats if b.able and b.weight} - set(core.settings.witnesses)

    async def order(self, order: Order) -> None:
        """On every road."""
        self._send(order)
