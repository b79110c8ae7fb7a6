# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated host: a clock that drifts, a kernel, and a daemon around a real core.

Clock and kernel outlive the daemon. `World` times are in us of true time, the clock's in ns.
"""

from __future__ import annotations

import abc
import collections
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from saru.core.action import Drop, Note, Push, Renew
from saru.core.participant import Participant
from saru.core.settings import Settings
from tests.sim.kernel import Kernel
from tests.sim.network import MS

LATE_TIMER = 2 * MS  # how late timers go off, on average
SET_BEGINS = MS  # how long a call to the kernel takes to have its effect, on average
SET_RETURNS = 3 * MS  # and after that to return
STALLS = (5 * MS, 50 * MS, 200 * MS, 800 * MS)
FAR = 10**15

Core = TypeVar("Core", bound=Participant[Any])


class Surroundings(Protocol):
    """What a host needs of its world."""

    settings: Settings
    now: int
    stall: float
    touched: bool

    def at(self, time: int, what: Callable[[], object]) -> None:
        """Do something at a time, us."""

    def note(self, name: str, note: Note) -> None:
        """The daemon of that host tells of a change."""


class Host(abc.ABC, Generic[Core]):
    """A host and its daemon. Its clock `shows` that at first, and goes wrong by up to `drift`."""

    def __init__(
        self, surroundings: Surroundings, name: str, dice: random.Random, shows: int, drift: float
    ) -> None:
        self.name = name
        self.dice = dice
        self._surroundings = surroundings
        self._clock_from = (0, shows + dice.randrange(FAR))  # true us, and what it showed then
        self.rate = 1 + dice.uniform(-drift, drift)
        self.kernels = {d.id: Kernel(self.clock) for d in surroundings.settings.divisions}
        self.daemon: Core | None = None
        self.incarnation = 0
        self.weight = 100
        self.life = 0  # grows with every start and end: what was scheduled for another is void
        self.paused_until = 0
        self._waiting: list[Callable[[], object]] = []  # the daemon's inbox while it is paused
        self._todo: collections.deque[Any] = collections.deque()
        self._pushes: dict[int, Push] = {}
        self._renews: dict[int, Renew] = {}
        self._drop = False
        self._busy = False
        self._wake_at = 0
        self.slow_kernel = 0  # us; so much longer each call to the kernel takes

    # --- what kinds of daemon differ in ---------------------------------------------------------

    @abc.abstractmethod
    def start(self) -> None:
        """Start the daemon."""

    @abc.abstractmethod
    def _request(self, action: Any) -> None:
        """Carry out an action that is not for the kernel."""

    @abc.abstractmethod
    def hear(self, message: Any) -> None:
        """A datagram arrives."""

    def _watched(self, actions: Sequence[Any]) -> None:
        """The daemon has had an event, and wants this done."""

    def clock(self) -> int:
        """The node's CLOCK_BOOTTIME, ns."""
        since, shown = self._clock_from
        return shown + int((self._surroundings.now - since) * 1000 * self.rate)

    def drift(self, part: float) -> None:
        """From now on the clock is fast by that part of 1, or slow."""
        self._clock_from = (self._surroundings.now, self.clock())
        self.rate = 1 + part
        self._sleep()

    # --- life -----------------------------------------------------------------------------------

    def end(self) -> None:
        """Kill the daemon; what it has given the kernel stays there."""
        self.daemon = None
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

    def empty(self) -> None:
        """Delete the tables of all ids."""
        self._surroundings.touched = True
        for kernel in self.kernels.values():
            kernel.delete()

    def pause(self, length: int) -> None:
        """Stop the daemon for `length` us (SIGSTOP); its kernel goes on."""
        if self.daemon is not None:
            self.paused_until = max(self.paused_until, self._surroundings.now + length)
            self.later(self.paused_until - self._surroundings.now, self._resume)

    def later(self, delay: int, what: Callable[[], None]) -> None:
        """Do something in `delay` us if this daemon still runs then."""
        life = self.life

        def then() -> None:
            if life == self.life:
                what()

        self._surroundings.at(self._surroundings.now + delay, then)

    def wakes(self) -> None:
        """The pause is over now (SIGCONT)."""
        self.paused_until = 0
        self._resume()

    def _resume(self) -> None:
        if self._surroundings.now < self.paused_until:
            return
        self._carry_out()
        waiting, self._waiting = self._waiting, []
        for happens in waiting:
            happens()

    # --- events ---------------------------------------------------------------------------------

    def do(self, event: Callable[[Core], Iterable[Any]]) -> None:
        """Let the daemon have an event, now or when its pause is over."""
        if self.daemon is None:
            return
        if self._surroundings.now < self.paused_until:
            self._waiting.append(lambda: self.do(event))
            return
        actions = list(event(self.daemon))
        self._watched(actions)
        if self._surroundings.stall and self.dice.random() < self._surroundings.stall:
            self.pause(self.dice.choice(STALLS))  # between computing and carrying out
        self._todo.extend(actions)
        self._carry_out()
        self._sleep()

    def _sleep(self) -> None:
        """Arrange the next tick; timers may be late."""
        if self.daemon is None:
            return
        now = self.clock()
        delay = max(1, int((self.daemon.wake(now) - now) / 1000 / self.rate) + 1)
        delay += int(self.dice.expovariate(1 / LATE_TIMER))
        self._wake_at = at = self._surroundings.now + delay

        def tick() -> None:
            if at == self._wake_at:  # only the newest counts
                self.do(lambda daemon: daemon.tick(self.clock()))

        self.later(delay, tick)

    # --- carrying out ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Carry out actions in their order, as far as no pause falls between."""
        while self._todo and self._surroundings.now >= self.paused_until:
            action = self._todo.popleft()
            if isinstance(action, Push):
                self._pushes[action.id] = action
            elif isinstance(action, Renew):
                self._renews[action.id] = action
            elif isinstance(action, Drop):
                self._void()
                self._drop = True
            elif isinstance(action, Note):
                self._surroundings.note(self.name, action)
            else:
                self._request(action)
        self._work()

    def _void(self) -> None:
        """R7: what was ordered before a drop, and not begun, is not carried out."""
        self._pushes.clear()
        self._renews.clear()

    def _work(self) -> None:
        """R7: one hand carries the orders to the kernel, one after the other."""
        while (
            not self._busy
            and self.daemon is not None
            and self._surroundings.now >= self.paused_until
        ):
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
            self._surroundings.touched = True
            done.append(self.kernels[push.id].set(push.version, push.held, push.deadline))

        self._call(takes, lambda core: core.pushed(push.id, push.version, done[0], self.clock()))

    def _renew(self, renew: Renew) -> None:
        self._surroundings.touched = True
        if not self.kernels[renew.id].renew(renew.version, renew.deadline):
            self.do(lambda core: core.stale(renew.id, renew.version, self.clock()))

    def _call(self, takes: Callable[[], None], returned: Callable[[Core], Iterable[Any]]) -> None:
        """A call to the kernel: has its effect at some moment, and returns later."""
        self._busy = True
        first = self.slow_kernel + int(self.dice.expovariate(1 / SET_BEGINS))
        then = first + int(self.dice.expovariate(1 / SET_RETURNS))

        def returns() -> None:
            self._busy = False
            self.do(returned)
            self._work()

        self.later(first, takes)
        self.later(then, returns)
