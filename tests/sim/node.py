# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated host: a clock that drifts, a kernel, and a daemon around the real core.

Clock and kernel outlive the daemon. `World` times are in us of true time, the clock's in ns.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from saru.core.action import Action, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Allocation, Beat
from saru.core.coordinator import Coordinator
from saru.core.state import State
from tests.sim.kernel import Kernel
from tests.sim.network import MS

if TYPE_CHECKING:
    from tests.sim.world import World

Event = Callable[[Coordinator], list[Action]]

DRIFT = 0.01
LATE_TIMER = 2 * MS  # how late timers go off, on average
SET_BEGINS = MS  # how long a call to the kernel takes to have its effect, on average
SET_RETURNS = 3 * MS  # and after that to return
STALLS = (5 * MS, 50 * MS, 200 * MS, 800 * MS)
FAR = 10**15


class Node:
    """A host and its daemon."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dice = random.Random(f"{world.scenario.seed} {name}")
        self._clock_from = (
            0,
            world.clocks_from + self.dice.randrange(FAR),
        )  # true us, and what the clock showed then
        self.rate = 1 + self.dice.uniform(-DRIFT, DRIFT)
        self.kernels = {d.id: Kernel(self.clock) for d in world.settings.divisions}
        self.daemon: Coordinator | None = None
        self.incarnation = 0
        self._state: State | None = None  # what a paused daemon has left
        self.weight = 100
        self.life = 0  # grows with every start and end: what was scheduled for another is void
        self.paused_until = 0
        self._waiting: list[Event] = []  # the daemon's inbox while it is paused
        self._todo: collections.deque[Action] = collections.deque()
        self._pushes: dict[int, Push] = {}
        self._renews: dict[int, Renew] = {}
        self._drop = False
        self._busy = False
        self._wake_at = 0

    def clock(self) -> int:
        """The node's CLOCK_BOOTTIME, ns."""
        since, shown = self._clock_from
        return shown + int((self.world.now - since) * 1000 * self.rate)

    def drift(self, part: float) -> None:
        """From now on the clock is fast by that part of 1, or slow."""
        self._clock_from = (self.world.now, self.clock())
        self.rate = 1 + part
        self._sleep()

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon: go on from a pause, or raise the incarnation and empty the tables.

        What a pause has left is used once: whoever ends, however, leaves nothing of it.
        """
        state = self._state if self.daemon is None else None
        self.end()
        if state is not None:
            self.daemon = Coordinator.resume(self.world.settings, state, self.clock())
            self.do(lambda daemon: daemon.tick(self.clock()))
        else:
            self.incarnation += 1
            self.empty()
            self.daemon = Coordinator(
                self.world.settings, self.name, self.incarnation, self.clock(), self.weight
            )
            if self.world.watch:
                self.world.watch.started(self)
        self.do(lambda daemon: daemon.guard(True, "rules in place", self.clock()))

    def end(self) -> None:
        """Kill the daemon; what it has given the kernel stays there."""
        self.daemon = self._state = None
        self.life += 1
        self.paused_until = 0
        self._drop = self._busy = False
        for waiting in (self._waiting, self._todo, self._pushes, self._renews):
            waiting.clear()

    def reboot(self) -> None:
        """Cut the power: daemon and tables are gone."""
        self.end()
        self.empty()

    def leave(self) -> None:
        """A clean stop: the daemon says goodbye, and ends a little later."""
        self.do(lambda daemon: daemon.leave(self.clock()))
        self.later(10 * MS, self.end)

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

    def empty(self) -> None:
        """Delete the tables of all ids."""
        self.world.touched = True
        for kernel in self.kernels.values():
            kernel.delete()

    def pause(self, length: int) -> None:
        """Stop the daemon for `length` us (SIGSTOP); its kernel goes on."""
        if self.daemon is not None:
            self.paused_until = max(self.paused_until, self.world.now + length)
            self.later(self.paused_until - self.world.now, self._resume)

    def later(self, delay: int, what: Callable[[], None]) -> None:
        """Do something in `delay` us if this daemon still runs then."""
        life = self.life

        def then() -> None:
            if life == self.life:
                what()

        self.world.at(self.world.now + delay, then)

    def wakes(self) -> None:
        """The pause is over now (SIGCONT)."""
        self.paused_until = 0
        self._resume()

    def _resume(self) -> None:
        if self.world.now < self.paused_until:
            return
        self._carry_out()
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self.do(event)

    # --- events ---------------------------------------------------------------------------------

    def do(self, event: Event) -> None:
        """Let the daemon have an event, now or when its pause is over."""
        if self.daemon is None:
            return
        if self.world.now < self.paused_until:
            self._waiting.append(event)
            return
        actions = event(self.daemon)
        if self.world.watch:
            self.world.watch.did(self, actions)
        if self.world.stall and self.dice.random() < self.world.stall:
            self.pause(self.dice.choice(STALLS))  # between computing and carrying out
        self._todo.extend(actions)
        self._carry_out()
        self._sleep()

    def hear(self, message: Beat | Allocation) -> None:
        """A datagram arrives."""

        def beat(daemon: Coordinator) -> list[Action]:
            assert isinstance(message, Beat)
            if self.world.watch:
                self.world.watch.heard(self, message)
            return daemon.receive(message, self.clock())

        def allocation(daemon: Coordinator) -> list[Action]:
            assert isinstance(message, Allocation)
            return daemon.receive_allocation(message, self.clock())

        self.do(beat if isinstance(message, Beat) else allocation)

    def _sleep(self) -> None:
        """Arrange the next tick; timers may be late."""
        if self.daemon is None:
            return
        now = self.clock()
        delay = max(1, int((self.daemon.wake(now) - now) / 1000 / self.rate) + 1)
        delay += int(self.dice.expovariate(1 / LATE_TIMER))
        self._wake_at = at = self.world.now + delay

        def tick() -> None:
            if at == self._wake_at:  # only the newest counts
                self.do(lambda daemon: daemon.tick(self.clock()))

        self.later(delay, tick)

    # --- carrying out ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Carry out actions in their order, as far as no pause falls between."""
        while self._todo and self.world.now >= self.paused_until:
            action = self._todo.popleft()
            if isinstance(action, SendBeat):
                self.world.send(self, action.beat)
            elif isinstance(action, SendAllocation):
                self.world.send(self, action.allocation)
            elif isinstance(action, Push):
                self._pushes[action.id] = action
            elif isinstance(action, Renew):
                self._renews[action.id] = action
            elif isinstance(action, Drop):
                self._void()
                self._drop = True
            else:
                assert isinstance(action, Note)
                self.world.tell(self, action)
        self._work()

    def _void(self) -> None:
        """R7: what was ordered before a drop, and not begun, is not carried out."""
        self._pushes.clear()
        self._renews.clear()

    def _work(self) -> None:
        """R7: one hand carries the orders to the kernel, one after the other."""
        while not self._busy and self.daemon is not None and self.world.now >= self.paused_until:
            if self._drop:
                self._drop = False
                self._call(self.empty, lambda daemon: daemon.dropped(self.clock()))
            elif self._pushes:
                self._push(self._pushes.pop(next(iter(self._pushes))))
            elif self._renews:
                self._renew(self._renews.pop(next(iter(self._renews))))
            else:
                return

    def _push(self, push: Push) -> None:
        done: list[bool] = []

        def takes() -> None:
            self.world.touched = True
            done.append(self.kernels[push.id].set(push.version, push.held, push.deadline))

        self._call(takes, lambda core: core.pushed(push.id, push.version, done[0], self.clock()))

    def _renew(self, renew: Renew) -> None:
        self.world.touched = True
        if not self.kernels[renew.id].renew(renew.version, renew.deadline):
            self.do(lambda core: core.stale(renew.id, renew.version, self.clock()))

    def _call(self, takes: Callable[[], None], returned: Event) -> None:
        """A call to the kernel: has its effect at some moment, and returns later."""
        self._busy = True
        first = int(self.dice.expovariate(1 / SET_BEGINS))
        then = first + int(self.dice.expovariate(1 / SET_RETURNS))

        def returns() -> None:
            self._busy = False
            self.do(returned)
            self._work()

        self.later(first, takes)
        self.later(then, returns)
