# SPDX-License-Identifier: GPL-2.0-or-later
"""Cores joined by a fake link, for scenarios that a person can read.

Everything is exact: timers go off at their moment, every datagram takes `delay`, every SET takes
`set_time`. Times are in ns, of true time; each host's own clock is that, times its rate. After
every event the kernels are looked at: no block is accepted by two.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

import msgspec

from saru.core.action import Action, Change, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Allocation, Beat, Message
from saru.core.coordinator import Coordinator
from saru.core.invariants import never_two
from saru.core.settings import Division, Quorum, Settings
from saru.core.state import State
from tests.sim.kernel import Kernel

MS = 1_000_000
KEEPALIVE = 100 * MS
DEADTIME = 400 * MS
INITDEAD = 820 * MS
BLOCKS = 16
EVERYTHING = (1 << BLOCKS) - 1

Filter = Callable[[str, str, Message], bool]


class Host:
    """One director: a core, its kernel's tables, and the hand between the two."""

    def __init__(self, link: Link, name: str, rate: float) -> None:
        self.link = link
        self.name = name
        self.rate = rate
        self.incarnation = 0
        self.kernels = {d.id: Kernel(self.clock) for d in link.settings.divisions}
        self.daemon: Coordinator | None = None
        self.paused = False
        self.inbox: list[Callable[[Coordinator], list[Action]]] = []
        self.seen = 0  # when, by its own clock, the core had its last event
        self._orders: list[Push | Renew | Drop] = []
        self._busy = False
        self._timer = 0

    def clock(self) -> int:
        """The host's CLOCK_BOOTTIME."""
        return int(self.link.now * self.rate)

    @property
    def core(self) -> Coordinator:
        """The running daemon's core."""
        assert self.daemon is not None, f"{self.name} does not run"
        return self.daemon

    def accepts(self, number: int = 1) -> int:
        """The bitmap of blocks that the kernel accepts now."""
        return self.kernels[number].accepts()

    def waiting(self) -> int:
        """How many tables are to be set and not begun."""
        return sum(isinstance(order, Push) for order in self._orders)

    def start(self, able: bool = True) -> None:
        """Start the daemon; without `able` its rules are not there."""
        self.incarnation += 1
        self._orders, self._busy, self.inbox, self.paused = [], False, [], False
        self.daemon = Coordinator(self.link.settings, self.name, self.incarnation, self.clock())
        self.do(lambda core: core.tick(self.clock()))
        if able:
            self.do(lambda core: core.guard(True, "rules in place", self.clock()))

    def kill(self) -> None:
        """SIGKILL: what the kernel was given stays there."""
        self.daemon = None

    def crash(self) -> None:
        """Power cut."""
        self.kill()
        for kernel in self.kernels.values():
            kernel.delete()

    def suspend(self) -> State:
        """Stop the daemon for a restart: a last beat, and the state as the next one reads it."""
        actions, state = self.core.suspend(self.clock())
        self.do(lambda _core: actions)
        self.daemon = None
        return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)

    def go_on(self, state: State) -> None:
        """Start the next daemon, from that state."""
        self._orders, self._busy, self.inbox, self.paused = [], False, [], False
        self.daemon = Coordinator.resume(self.link.settings, state, self.clock())
        self.do(lambda core: core.tick(self.clock()))

    def pause(self) -> None:
        """SIGSTOP: datagrams wait, timers and the kernel's answers too."""
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: what has waited is seen to, in its order."""
        self.paused = False
        inbox, self.inbox = self.inbox, []
        for event in inbox:
            self.do(event)
        self._work()
        self.do(lambda core: core.tick(self.clock()))

    def do(self, event: Callable[[Coordinator], list[Action]]) -> None:
        """Let the core have an event, and carry out what it asks for."""
        if self.daemon is None:
            return
        if self.paused:
            self.inbox.append(event)
            return
        self.seen = self.clock()
        for action in event(self.daemon):
            if isinstance(action, SendBeat):
                self.link.send(self.name, action.beat)
            elif isinstance(action, SendAllocation):
                self.link.send(self.name, action.allocation)
            elif isinstance(action, Note):
                self.link.notes.append((self.link.now, self.name, action))
            elif isinstance(action, Drop):
                self._void()
                self._orders.insert(0, action)
            else:
                self._orders.append(action)
        self._work()
        self._sleep()

    def _void(self) -> None:
        """R7: what was ordered before a drop, and not begun, is not carried out."""
        self._orders.clear()

    def _sleep(self) -> None:
        if self.daemon is None:
            return
        wake = self.daemon.wake(self.clock())
        at = max(self.link.now + 1, -int(-wake // self.rate))
        self._timer += 1
        turn, daemon = self._timer, self.daemon
        self.link.at(at, lambda: self._tick(turn, daemon))

    def _tick(self, turn: int, daemon: Coordinator) -> None:
        if turn == self._timer and daemon is self.daemon:
            self.do(lambda core: core.tick(self.clock()))

    def _work(self) -> None:
        """Carry out the orders for the kernel, one at a time."""
        while self._orders and not self._busy and not self.paused and self.daemon is not None:
            order = self._orders.pop(0)
            if isinstance(order, Drop):
                for kernel in self.kernels.values():
                    kernel.delete()
                self.do(lambda core: core.dropped(self.clock()))
            elif isinstance(order, Renew):
                if not self.kernels[order.id].renew(order.version, order.deadline):
                    self.do(lambda core, o=order: core.stale(o.id, o.version, self.clock()))  # type: ignore[misc]
            else:
                self._busy = True
                daemon = self.daemon
                self.link.at(
                    self.link.now + self.link.set_time,
                    lambda o=order, d=daemon: self._set(o, d),  # type: ignore[misc]
                )

    def _set(self, push: Push, daemon: Coordinator) -> None:
        if daemon is not self.daemon:
            return
        ok = self.kernels[push.id].set(push.version, push.held, push.deadline)
        self._busy = False
        self.do(lambda core: core.pushed(push.id, push.version, ok, self.clock()))
        self._work()


class Link:
    """The link, the hosts on it, and the true time."""

    def __init__(
        self,
        names: str,
        *,
        voters: str = "",
        witnesses: str = "",
        delay: int = MS,
        set_time: int = 0,
        quorum: Quorum = Quorum.MAJORITY,
        rates: Mapping[str, float] | None = None,
        divisions: tuple[Division, ...] = (Division(1, BLOCKS, 0),),
        ping_settle: int = 0,
        join_delay: int = 0,
    ) -> None:
        self.settings = Settings(
            nodes=tuple(voters or names),
            witnesses=tuple(witnesses),
            quorum=quorum,
            keepalive=KEEPALIVE,
            deadtime=DEADTIME,
            initdead=INITDEAD,
            divisions=divisions,
            ping_settle=ping_settle,
            join_delay=join_delay,
        )
        self.now = 1000 * MS
        self.delay = delay
        self.set_time = set_time
        self.lost: Filter = lambda _sender, _receiver, _message: False
        self.promised = True  # never two; where there is no quorum, a partition breaks it
        self.notes: list[tuple[int, str, Note]] = []
        self.sent: list[tuple[int, str, Message]] = []
        self.hosts = {name: Host(self, name, (rates or {}).get(name, 1.0)) for name in names}
        self._cut: set[tuple[str, str]] = set()
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._order = 0

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    # --- time ---

    def at(self, time: int, what: Callable[[], object]) -> None:
        """Do something at a time."""
        self._order += 1
        heapq.heappush(self._queue, (time, self._order, what))

    def step(self) -> None:
        """Let the next event happen, and check."""
        time, _, what = heapq.heappop(self._queue)
        self.now = max(self.now, time)
        what()
        self.check()

    def run(self, length: int) -> None:
        """Let time pass."""
        end = self.now + length
        while self._queue and self._queue[0][0] <= end:
            self.step()
        self.now = end
        self.check()

    def until(self, so: Callable[[], bool], limit: int = 20 * DEADTIME) -> int:
        """Let time pass until something is so; how long that took."""
        begin = self.now
        while not so():
            assert self.now < begin + limit, f"not so after {limit / MS} ms:\n{self.story(begin)}"
            self.step()
        return self.now - begin

    def settled(self) -> Link:
        """Start everybody and wait until all hold their share."""
        for host in self.hosts.values():
            host.start()
        directors = [h for h in self.hosts.values() if h.name not in self.settings.witnesses]
        self.until(lambda: self.held() == EVERYTHING and all(h.accepts() for h in directors))
        self.run(KEEPALIVE)
        return self

    # --- the network ---

    def send(self, sender: str, message: Beat | Allocation) -> None:
        """A datagram for everybody; parts of allocations are for those with the same settings."""
        self.sent.append((self.now, sender, message))
        settings = self.hosts[sender].core.settings.digest()
        for name in self.hosts:
            gone = (sender, name) in self._cut or self.lost(sender, name, message)
            if name != sender and not gone:
                self.at(
                    self.now + self.delay,
                    lambda n=name: self.deliver(n, message, settings),  # type: ignore[misc]
                )

    def deliver(self, name: str, message: Message, settings: bytes | None = None) -> None:
        """A datagram arrives, of one with these settings; None: with the receiver's own."""
        host = self.hosts[name]
        differs = host.daemon is not None and host.core.settings.digest() != settings
        if settings and differs and isinstance(message, Allocation):
            return  # the codec refuses it
        if isinstance(message, Beat):
            host.do(lambda core: core.receive(message, host.clock()))
        else:
            host.do(lambda core: core.receive_allocation(message, host.clock()))

    def one_way(self, sender: str, receiver: str) -> None:
        """Nothing goes from `sender` to `receiver` any more."""
        self._cut.add((sender, receiver))

    def mend(self, sender: str, receiver: str) -> None:
        """Datagrams go from `sender` to `receiver` again."""
        self._cut.discard((sender, receiver))

    def apart(self, side: str) -> None:
        """Cut the hosts in `side` off from all others."""
        for one in side:
            for other in set(self.hosts) - set(side):
                self._cut |= {(one, other), (other, one)}

    def heal(self) -> None:
        """The network is whole again."""
        self._cut.clear()

    # --- looking ---

    def check(self) -> None:
        """Never two, where that is promised."""
        for division in self.settings.divisions if self.promised else ():
            never_two({h.name: h.accepts(division.id) for h in self.hosts.values()})

    def held(self, number: int = 1) -> int:
        """The blocks that some kernel accepts now."""
        bitmap = 0
        for host in self.hosts.values():
            bitmap |= host.accepts(number)
        return bitmap

    def master(self) -> str:
        """Who is master, of the highest term if several believe to be; "" if nobody."""
        terms = {
            host.core.term: name
            for name, host in self.hosts.items()
            if host.daemon and host.core.term and host.core.mastership
        }
        return terms[max(terms)] if terms else ""

    def told(self, change: Change, since: int = 0) -> list[str]:
        """Who has told of such a change since then, in order."""
        return [name for time, name, n in self.notes if n.change is change and time >= since]

    def story(self, since: int = 0) -> str:
        """What was told since then, one line each."""
        lines = [f"{t / MS:9.3f} {name}: {note}" for t, name, note in self.notes if t >= since]
        return "\n".join(lines)
