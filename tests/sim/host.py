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
from tests.sim.kernel import Kernel, Nftables
from tests.sim.network import MS
from tests.sim.scenario import Course

LATE_TIMER = 2 * MS  # how late timers go off, on average
SET_BEGINS = MS  # how long a call to the kernel takes to have its effect, on average
SET_RETURNS = 3 * MS  # and after that to return
STALLS = (5 * MS, 50 * MS, 200 * MS, 800 * MS)
FAR = 10**15

Core = TypeVar("Core", bound=Participant[Any])


class Surroundings(Protocol):
    """What a host needs of its world."""

    scenario: Course
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
        self._stepped = 0  # by how much the wall clock has been set forward, ns
        self.kernels = {d.id: self._kernel() for d in surroundings.settings.divisions}
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

    def wall(self) -> int:
        """The node's CLOCK_REALTIME, ns."""
        return self.clock() + self._stepped

    def step(self, by: int) -> None:
        """Set the wall clock forward by so many ns, or back."""
        self._stepped += by
        self._surroundings.touched = True

    def _kernel(self) -> Kernel:
        if self._surroundings.scenario.nftables:
            return Nftables(self.clock, self.wall)
        return Kernel(self.clock)

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
        self._may_stall()  # between computing and carrying out
        self._todo.extend(actions)
        self._carry_out()
        self._sleep()

    def _may_stall(self, times: int = 1) -> None:
        """The daemon may be stopped here, so many times as likely as elsewhere."""
        if self._surroundings.stall and self.dice.random() < times * self._surroundings.stall:
            self.pause(self.dice.choice(STALLS))

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
                self._call(self.empty, lambda: self.do(lambda daemon: daemon.dropped(self.clock())))
            elif self._pushes:
                self._push(self._pushes.pop(next(iter(self._pushes))))
            elif self._renews:
                self._renew(self._renews.pop(next(iter(self._renews))))
            else:
                return

    def _push(self, push: Push) -> None:
        done: list[bool] = []
        kernel = self.kernels[push.id]
        clocks = kernel.read()

        def takes() -> None:
            self._surroundings.touched = True
            done.append(kernel.set(push.version, push.held, push.deadline, clocks))

        def pushed(core: Core) -> Iterable[Any]:
            return core.pushed(push.id, push.version, done[0], self.clock())

        self._call(takes, lambda: self.do(pushed))

    def _renew(self, renew: Renew) -> None:
        kernel = self.kernels[renew.id]
        clocks = kernel.read()

        def takes() -> bool:
            self._surroundings.touched = True
            return kernel.renew(renew.version, renew.deadline, clocks)

        def stale(core: Core) -> Iterable[Any]:
            return core.stale(renew.id, renew.version, self.clock())

        if clocks is None:  # one message, which the kernel handles while it is sent
            if not takes():
                self.do(stale)
            return
        done: list[bool] = []
        self._call(lambda: done.append(takes()), lambda: None if done[0] else self.do(stale))

    def _call(self, takes: Callable[[], None], returned: Callable[[], None]) -> None:
        """A call to the kernel: has its effect at some moment, and returns later."""
        self._busy = True
        first = self.slow_kernel + int(self.dice.expovariate(1 / SET_BEGINS))
        then = int(self.dice.expovariate(1 / SET_RETURNS))

        if self._surroundings.scenario.nftables:
            self._may_stall(10)  # its orders take longer to make than the module's

        def acts() -> None:
            rest = self.paused_until - self._surroundings.now
            if rest > 0 and self._surroundings.scenario.nftables and self.dice.random() < 0.5:
                self.later(rest, acts)  # it was stopped before the kernel had all of it
                return
            takes()
            self.later(then, returns)

        def returns() -> None:
            self._busy = False
            returned()
            self._work()

        self.later(first, acts)
