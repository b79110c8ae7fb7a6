# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated cluster around the real core: clocks that drift, a network that loses, kernels.

One seed drives everything. After every event the kernels' view is checked: no block is accepted by
two. Times are in microseconds of true time; a node's own clock runs in nanoseconds, off and adrift.
"""

from __future__ import annotations

import collections
import heapq
import random
from collections.abc import Callable

from saru.core.action import Action, Drop, Note, Push, Renew, SendAllocation, SendBeat
from saru.core.beat import Allocation, Beat
from saru.core.coordinator import Coordinator
from saru.core.invariants import InvariantError, never_two
from saru.core.settings import Division, Quorum, Settings
from saru.core.term import Version
from saru.soundness import check_beat

MS = 1000
KEEPALIVE = 100 * MS
DEADTIME = 400 * MS
INITDEAD = 820 * MS
DRIFT = 0.01
BLOCKS = 16


class Kernel:
    """One id's table as xt_saru keeps it; `clock` tells the node's boot-time clock."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.version: Version | None = None
        self.held = 0
        self.deadline = 0

    def accepts(self) -> int:
        """The bitmap of blocks accepted at this moment."""
        return self.held if self.version and self._clock() < self.deadline else 0

    def set(self, version: Version, held: int, deadline: int) -> bool:
        """Replace the table; False is ESTALE."""
        if self.version is not None:
            if version < self.version:
                return False
            if version == self.version and (self._clock() >= self.deadline or held & ~self.held):
                return False
        self.version, self.held, self.deadline = version, held, deadline
        return True

    def renew(self, version: Version, deadline: int) -> bool:
        """Move the deadline; False is ESTALE."""
        if version != self.version or self._clock() >= self.deadline:
            return False
        self.deadline = deadline
        return True

    def delete(self) -> None:
        """Forget the table."""
        self.version, self.held, self.deadline = None, 0, 0


class Node:
    """A host: its clock and kernel outlive its daemon."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rate = 1 + world.random.uniform(-DRIFT, DRIFT)
        self.offset = world.random.randrange(10**15)
        self.kernels = {d.id: Kernel(self.clock) for d in world.settings.divisions}
        self.daemon: Coordinator | None = None
        self.incarnation = 0
        self.life = 0  # grows with every start and end: what was scheduled for another is void
        self.paused_until = 0
        self.waiting: list[Callable[[], None]] = []  # the daemon's inbox while it is paused
        self.todo: collections.deque[Action] = collections.deque()
        self.pushing = False
        self.wake_at = 0

    def clock(self) -> int:
        """The node's CLOCK_BOOTTIME, ns."""
        return self.offset + int(self.world.now * 1000 * self.rate)

    def start(self) -> None:
        """Start the daemon: raise the incarnation, empty the tables, begin."""
        self.incarnation += 1
        self.life += 1
        self.empty()
        self.world.forget(self)
        self.todo.clear()
        self.pushing = False
        self.waiting.clear()
        self.paused_until = 0
        self.daemon = Coordinator(self.world.settings, self.name, self.incarnation, self.clock())
        self.do(lambda daemon: daemon.guard(True, "rules in place", self.clock()))

    def crash(self, reboot: bool) -> None:
        """Kill the daemon; with `reboot`, the kernel's tables go as well."""
        self.daemon = None
        self.life += 1
        if reboot:
            self.empty()

    def empty(self) -> None:
        """Delete the tables of all ids."""
        for kernel in self.kernels.values():
            kernel.delete()

    def do(self, event: Callable[[Coordinator], list[Action]]) -> None:
        """Let the daemon have an event, now or when its pause is over."""
        if self.daemon is None:
            return
        if self.world.now < self.paused_until:
            self.waiting.append(lambda: self.do(event))
            return
        actions = event(self.daemon)
        if self.world.random.random() < self.world.stall:
            # Paused at the worst moment: between computing and carrying out.
            self.world.pause(self)
        self.todo.extend(actions)
        self.carry_out()
        self.sleep()

    def sleep(self) -> None:
        """Arrange the next tick; timers may be late."""
        if self.daemon is None:
            return
        wake = self.daemon.wake(self.clock())
        delay = max(1, int((wake - self.clock()) / 1000 / self.rate) + 1)
        delay += int(self.world.random.expovariate(1 / (2 * MS)))
        self.wake_at = self.world.now + delay
        life, at = self.life, self.wake_at
        self.world.at(at, lambda: self.tick(life, at))

    def tick(self, life: int, at: int) -> None:
        """A timer has gone off; only the newest counts."""
        if life == self.life and at == self.wake_at:
            self.do(lambda daemon: daemon.tick(self.clock()))

    def carry_out(self) -> None:
        """Carry out actions in their order; kernel calls take time, and pauses fall between."""
        while self.todo and self.daemon is not None:
            if self.world.now < self.paused_until:
                return  # resume goes on here
            if any(isinstance(action, Drop) for action in self.todo):
                self.todo = collections.deque(
                    a for a in self.todo if not isinstance(a, Push | Renew)
                )
            if self.pushing and isinstance(self.todo[0], Push | Renew | Drop):
                others = [a for a in self.todo if not isinstance(a, Push | Renew | Drop)]
                self.todo = collections.deque(
                    a for a in self.todo if isinstance(a, Push | Renew | Drop)
                )
                for action in others:
                    self.world.carry(self, action)
                return
            self.world.carry(self, self.todo.popleft())


class World:
    """The cluster, its network, and the true time."""

    def __init__(self, seed: int, voters: int = 3, witnesses: int = 0, ids: int = 1) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.now = 0
        names = tuple("abcdefghi"[:voters])
        self.settings = Settings(
            nodes=names,
            witnesses=names[voters - witnesses :],
            quorum=Quorum.MAJORITY,
            keepalive=KEEPALIVE * 1000,
            deadtime=DEADTIME * 1000,
            initdead=INITDEAD * 1000,
            divisions=tuple(Division(number, BLOCKS, 0) for number in range(1, ids + 1)),
        )
        self.stall = 0.0
        self.loss = 0.0
        self.double = 0.0
        self.delay = 2 * MS  # mean one-way delay
        self.cut: set[tuple[str, str]] = set()
        self.nodes = {name: Node(self, name) for name in names}
        self.count: collections.Counter[str] = collections.Counter()
        self.script: list[str] = []
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._order = 0
        self._issued: dict[tuple[str, int], dict[Version, Allocation]] = {}
        self._owners: dict[tuple[int, int], str] = {}

    # --- time ---

    def at(self, time: int, what: Callable[[], object]) -> None:
        """Do something at a time, us."""
        self._order += 1
        heapq.heappush(self._queue, (time, self._order, what))

    def run(self, until: int) -> None:
        """Let time pass up to `until`, checking after every event."""
        while self._queue and self._queue[0][0] <= until:
            time, _, what = heapq.heappop(self._queue)
            self.now = max(self.now, time)
            what()
            self.check()
        self.now = until
        self.check()

    def check(self) -> None:
        """Never two, judged by what the kernels accept at this very moment."""
        for division in self.settings.divisions:
            number = division.id
            never_two({name: node.kernels[number].accepts() for name, node in self.nodes.items()})

    def unheld(self) -> dict[int, int]:
        """By id, the bitmap of blocks that no kernel accepts now, where there are any."""
        missing = {}
        for division in self.settings.divisions:
            bitmap = (1 << division.blocks) - 1
            for node in self.nodes.values():
                bitmap &= ~node.kernels[division.id].accepts()
            if bitmap:
                missing[division.id] = bitmap
        return missing

    def left_out(self) -> list[str]:
        """What is wrong with a whole network: who could take part and does not."""
        wrong = []
        terms = {str(n.daemon.term) for n in self.nodes.values() if n.daemon is not None}
        if len(terms) > 1:
            wrong.append(f"they are in the terms {', '.join(sorted(terms))}")
        for node in self.nodes.values():
            if node.daemon is None:
                continue
            if not node.daemon.leased(node.clock()):
                wrong.append(f"{node.name} has no lease")
            for number, kernel in node.kernels.items():
                if node.daemon.holdings[number].held != kernel.accepts():
                    wrong.append(f"{node.name} believes to hold what its kernel does not accept")
        return wrong

    def say(self, text: str) -> None:
        """A line of the run's script."""
        self.script.append(f"{self.now / 1e6:9.4f}  {text}")

    # --- faults ---

    def pause(self, node: Node, length: int | None = None) -> None:
        """Stop a daemon for a while (SIGSTOP); its kernel goes on."""
        length = length or self.random.choice((5 * MS, 50 * MS, DEADTIME // 2, 2 * DEADTIME))
        node.paused_until = max(node.paused_until, self.now + length)
        self.say(f"{node.name} pauses for {length / MS:.0f} ms")
        life = node.life

        def ends() -> None:
            if node.life == life:
                self.resume(node)

        self.at(node.paused_until, ends)

    def resume(self, node: Node) -> None:
        """The pause is over: the inbox is read, in order."""
        if self.now < node.paused_until:
            return
        node.carry_out()
        waiting, node.waiting = node.waiting, []
        for event in waiting:
            event()

    # --- carrying out ---

    def carry(self, node: Node, action: Action) -> None:
        """Carry out one action of a node's daemon."""
        if isinstance(action, SendBeat):
            self.send(node, action.beat)
        elif isinstance(action, SendAllocation):
            self.hear_version(node, action.allocation)
            self.send(node, action.allocation)
        elif isinstance(action, Push):
            self.push(node, action)
        elif isinstance(action, Renew):
            if not node.kernels[action.id].renew(action.version, action.deadline):
                node.do(lambda daemon: daemon.stale(action.id, action.version, node.clock()))
        elif isinstance(action, Drop):
            node.empty()
            node.do(lambda daemon: daemon.dropped(node.clock()))
        else:
            self.hear_note(node, action)

    def push(self, node: Node, push: Push) -> None:
        """SET: the new table counts from some moment on, the call returns later."""
        node.pushing = True
        life = node.life
        first = self.now + int(self.random.expovariate(1 / MS))
        then = first + int(self.random.expovariate(1 / (3 * MS)))
        done: list[bool] = []

        def takes() -> None:
            if node.life == life:
                kernel = node.kernels[push.id]
                done.append(kernel.set(push.version, push.held, push.deadline))

        def returns() -> None:
            if node.life != life:
                return
            node.pushing = False
            node.do(lambda daemon: daemon.pushed(push.id, push.version, done[0], node.clock()))
            node.carry_out()

        self.at(first, takes)
        self.at(then, returns)

    def send(self, node: Node, message: Beat | Allocation) -> None:
        """Send to everyone: lost, late, doubled, or not at all."""
        if isinstance(message, Beat):
            check_beat(message)  # as it would be before it goes on the wire
        for other in self.nodes.values():
            if other is node or (node.name, other.name) in self.cut:
                continue
            copies = 1 + (self.random.random() < self.double)
            for _ in range(copies):
                if self.random.random() < self.loss:
                    continue
                delay = int(self.random.expovariate(1 / self.delay)) + 100
                self.at(self.now + delay, lambda o=other: self.deliver(o, message))  # type: ignore[misc]

    def deliver(self, node: Node, message: Beat | Allocation) -> None:
        """A datagram arrives."""
        if isinstance(message, Beat):
            node.do(lambda daemon: daemon.receive(message, node.clock()))
        else:
            node.do(lambda daemon: daemon.receive_allocation(message, node.clock()))

    def forget(self, node: Node) -> None:
        """A daemon starts anew: where all have, the terms start anew too."""
        for number in node.kernels:
            self._issued.pop((node.name, number), None)

    def hear_note(self, node: Node, note: Action) -> None:
        """Count what the daemons tell, and check what only grows."""
        assert isinstance(note, Note)
        self.count[note.change] += 1
        self.say(f"{node.name} says {note}")

    def hear_version(self, node: Node, allocation: Allocation) -> None:
        """Check that a master's versions only grow, and that none is ever another; count moves."""
        if node.daemon is None or allocation.version.term.place != self.place(node):
            return  # somebody else's, sent on to one who lacks it
        issued = self._issued.setdefault((node.name, allocation.id), {})
        version = allocation.version
        if version in issued or version.term.incarnation != node.daemon.session.incarnation:
            if issued.get(version, allocation) != allocation:
                raise InvariantError(f"{node.name}: there are two allocations {version}")
            return
        if issued and version < max(issued):
            raise InvariantError(f"{node.name}: version went from {max(issued)} to {version}")
        issued[version] = allocation
        for grant in allocation.grants:
            bitmap = grant.bitmap()
            for block in range(bitmap.bit_length()):
                if bitmap >> block & 1:
                    key = (allocation.id, block)
                    self.count["moves"] += self._owners.get(key) not in (None, grant.node)
                    self._owners[key] = grant.node

    def place(self, node: Node) -> int:
        """A node's place among the voters."""
        return self.settings.nodes.index(node.name)
