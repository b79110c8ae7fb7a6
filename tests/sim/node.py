# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated director or witness that goes by beats."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from saru.core.action import Action, SendAllocation, SendBeat
from saru.core.beat import Allocation, Beat
from saru.core.coordinator import Coordinator
from saru.core.reach import Reach
from saru.core.state import State
from tests.sim.host import SET_RETURNS, Host

if TYPE_CHECKING:
    from tests.sim.world import World

DRIFT = 0.01


class Node(Host[Coordinator]):
    """A host and its daemon."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        dice = random.Random(f"{world.scenario.seed} {name}")
        super().__init__(world, name, dice, world.clocks_from, DRIFT)
        self._state: State | None = None  # what a paused daemon has left
        self.reach: Reach | None = None  # how many ping nodes answer it; None: there are none

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon: go on from a pause, or raise the incarnation.

        What a pause has left is used once: whoever ends, however, leaves nothing of it.
        """
        state = self._state if self.daemon is None else None
        self.end()
        if state is not None:
            self.daemon = Coordinator.resume(self.world.settings, state, self.clock())
            self.do(lambda daemon: daemon.tick(self.clock()))
        else:
            self.incarnation += 1
            self.daemon = Coordinator(
                self.world.settings, self.name, self.incarnation, self.clock(), self.weight
            )
            if self.world.watch:
                self.world.watch.started(self)
        self.do(lambda daemon: daemon.guard(True, "rules in place", self.clock()))
        if self.reach is not None:
            self.do(lambda daemon: daemon.reaches(self.reach, self.clock()))

    def end(self) -> None:
        """Kill the daemon; what it has given the kernel stays there."""
        super().end()
        self._state = None

    def stop(self) -> None:
        """A planned pause of the daemon: it leaves its state, and the next one goes on from it."""
        if self.daemon is None or self.daemon.left:
            return
        if self.world.now < self.paused_until or self._busy or self._pushes or self._drop:
            self.later(SET_RETURNS, self.stop)  # nothing may be on its way into the kernel
            return
        actions, state = self.daemon.suspend(self.clock())
        self.do(lambda _daemon: actions)
        self.end()
        self._state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)

    # --- events ---------------------------------------------------------------------------------

    def _watched(self, actions: Sequence[Any]) -> None:
        if self.world.watch:
            self.world.watch.did(self, actions)

    def hear(self, message: Beat | Allocation) -> None:
        def beat(daemon: Coordinator) -> list[Action]:
            assert isinstance(message, Beat)
            if self.world.watch:
                self.world.watch.heard(self, message)
            return daemon.receive(message, self.clock())

        def allocation(daemon: Coordinator) -> list[Action]:
            assert isinstance(message, Allocation)
            return daemon.receive_allocation(message, self.clock())

        self.do(beat if isinstance(message, Beat) else allocation)

    def _request(self, action: Any) -> None:
        if isinstance(action, SendBeat):
            self.world.send(self, action.beat)
        else:
            assert isinstance(action, SendAllocation)
            self.world.send(self, action.allocation)
