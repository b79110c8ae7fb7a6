# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs by hand around ZooKeeper, one for each rule whose absence random runs hardly ever show.

Each goes well with the rules as they are, and ends in an InvariantError without the rule that it is
about. What is caught has been read by a director's daemon and is not seen to yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from saru.core.ensemble.coordinator import EnsembleCoordinator
from saru.core.invariants import InvariantError
from tests.sim.cluster import BLOCKS, DEADTIME
from tests.sim.ensemble.director import Director
from tests.sim.ensemble.faults import happen
from tests.sim.ensemble.scenario import EnsembleScenario
from tests.sim.ensemble.world import EnsembleWorld
from tests.sim.network import MS
from tests.sim.scenario import Fault

EVERYTHING = (1 << BLOCKS) - 1
DOCUMENT = "allocations/1"
NS = 1000  # in a us


class Stage:
    """A world, and its directors by what they are: the master first, then by name."""

    def __init__(self, directors: str, *, failsafe: bool = False, away: str = "") -> None:
        self.world = EnsembleWorld(EnsembleScenario(1, directors, 3, failsafe))
        for name in directors:
            if name not in away:
                self.do("start", name)
        self.until(lambda: not self.unheld() and self.master() is not None)
        self.run(4 * DEADTIME)

    def do(self, *words: object) -> None:
        """Let a fault happen."""
        happen(self.world, Fault(self.world.now, tuple(map(str, words))))

    def run(self, length: int) -> None:
        """Let time pass."""
        self.world.run(self.world.now + length)

    def until(self, so: Callable[[], bool], limit: int = 12 * DEADTIME) -> None:
        """Let time pass until something is so."""
        end = self.world.now + limit
        while not so():
            if self.world.now > end:
                told = "\n".join(self.world.story[-30:])
                raise InvariantError(f"blocks stay unheld, or something else is left out:\n{told}")
            self.run(MS // 2)

    def master(self) -> Director | None:
        """Who is master."""
        for node in self.world.nodes.values():
            if node.daemon is not None and node.daemon.mastership is not None:
                return node
        return None

    def ranked(self) -> list[str]:
        """The names: the master's first."""
        master = self.master()
        assert master is not None
        return sorted(self.world.nodes, key=lambda name: (name != master.name, name))

    def __getitem__(self, name: str) -> Director:
        return self.world.nodes[name]

    def core(self, name: str) -> EnsembleCoordinator:
        """The core of a director that runs."""
        daemon = self[name].daemon
        assert daemon is not None
        return daemon

    def accepts(self, name: str) -> int:
        """The blocks that a director's kernel accepts."""
        return self[name].kernels[1].accepts()

    def unheld(self) -> int:
        """The blocks that nobody's kernel accepts."""
        return self.world.unheld().get(1, 0)

    def cut_off(self, *names: str) -> None:
        """These do not reach any server."""
        for name in names:
            for server in self.world.zookeeper.servers:
                self.do("far", name, server.number)

    def catch(self, name: str, *paths: str) -> None:
        """What that one reads of these znodes from now on is held back."""
        for path in paths:
            self[name].caught[path] = []

    def knows(self, name: str, member: str) -> bool:
        """Whether what a director holds by binds that member, too."""
        core = self.core(name)
        return member in core.vouchers() | {name} and core.holdings[1].taking is None

    def listed(self, name: str) -> Collection[str]:
        """Who is registered, as far as that master has seen."""
        mastership = self.core(name).mastership
        roll = mastership.roster.roll if mastership is not None else None
        return roll.directors if roll is not None else ()

    def grant_waits(self, name: str) -> bool:
        """Whether ZooKeeper has an allocation that gives a director more than it holds."""
        leader = self.world.zookeeper.leader
        assert leader is not None
        document = leader.tree[DOCUMENT].data
        core = self.core(name)
        named = document.allocation.bitmap(name, core.session)  # type: ignore[attr-defined]
        return bool(named & ~core.holdings[1].held)


def a_grant_read_late() -> Stage:
    """Another director's blocks are given to the third one, who has read that and not seen to it.

    The old master's session has ended since; it comes back, and another one is master.
    """
    stage = Stage("abc")
    master, second, third = stage.ranked()
    stage.catch(third, DOCUMENT)
    stage.do("weigh", second, 0)
    stage.until(lambda: stage.grant_waits(third))
    stage.run(20 * MS)
    stage.do("weigh", third, 0)  # for the next master: others shall have what it was given
    stage.do("weigh", second, 100)
    stage.do("expire", master)
    return stage


def a_late_allocation_of_an_old_term() -> None:
    """R5: it is seen to when its director has reported in the next term."""
    stage = a_grant_read_late()
    third = next(n for n in stage.world.nodes if stage[n].caught)
    others = [n for n in stage.world.nodes if n != third]
    given = EVERYTHING & ~stage.accepts(third)
    stage.until(lambda: sum(stage.accepts(n) for n in others) & given == given)
    stage[third].release(DOCUMENT)
    stage.run(DEADTIME)


def a_report_of_an_old_term() -> None:
    """R5: what a director says that has not heard of the new term binds it to nothing."""
    stage = Stage("abc")
    master, second, third = stage.ranked()
    stage.catch(third, DOCUMENT, "master")
    stage.do("weigh", second, 0)
    stage.until(lambda: stage.grant_waits(third))
    stage.run(20 * MS)
    stage.do("weigh", second, 100)
    stage.do("expire", master)
    stage.run(DEADTIME // 4)
    stage[third].release(DOCUMENT)
    stage.run(DEADTIME // 2)
    stage[third].release("master")
    stage.until(lambda: not stage.unheld())


def a_member_without_blocks() -> None:
    """Members: the newest allocation takes all from a director that has not seen to it.

    It is cut off, its session is ended, and so is the master's.
    """
    stage = Stage("abc")
    master, _, third = stage.ranked()
    stage.catch(third, DOCUMENT)
    stage.do("weigh", third, 0)
    stage.run(20 * MS)
    stage.cut_off(third)
    stage.do("expire", third)
    stage.do("expire", master)
    stage.until(lambda: not stage.unheld() and not stage.accepts(third))


def an_old_list() -> None:
    """A list of the registered from before a director came is seen to when it holds blocks."""
    stage = Stage("abcd", away="d")
    master = stage.ranked()[0]
    stage.catch(master, "directors")
    stage.do("expire", next(n for n in "abc" if n != master))
    stage.until(lambda: bool(stage[master].caught["directors"]))
    old = stage[master].caught.pop("directors")[:1]
    stage[master].caught.clear()
    stage[master]._read_roll()
    stage.do("start", "d")
    stage.until(lambda: bool(stage.accepts("d")))
    stage["d"].slow_kernel = 50 * MS  # it learns of the version without it, too
    for seen in old:
        seen()
    stage.run(4 * DEADTIME)


def tables_that_go_slowly() -> None:
    """R7: a director whose node is gone makes a new one when its tables are gone, not before."""
    stage = Stage("abc")
    _, second, _ = stage.ranked()
    stage[second].slow_kernel = 150 * MS
    stage.do("evict", second)
    stage.run(2 * DEADTIME)


def a_vouch_just_given() -> None:
    """Fail-safe: a master that has seen a node go loses ZooKeeper, and vouches for its director."""
    stage = Stage("abc", failsafe=True)
    master, second, third = stage.ranked()
    servers = stage.world.zookeeper.servers
    for server in servers:
        stage.do("down", server.number)
    stage.run(3 * DEADTIME // 2)
    stage.cut_off(second, third)
    stage.do("mend")
    stage.until(lambda: stage.core(master).proved_until() > stage[master].clock())
    stage.do("expire", third)
    stage.until(lambda: third not in stage.listed(master))
    for server in servers:
        stage.do("down", server.number)
    stage.run(DEADTIME)
    stage.do("mend")
    stage.run(2 * DEADTIME)


def a_newcomer_alone() -> None:
    """Fail-safe: all members serve without ZooKeeper, and a newcomer has it for itself."""
    stage = Stage("abcd", failsafe=True, away="d")
    stage.cut_off("a", "b", "c")
    stage.run(DEADTIME)
    stage.do("start", "d")
    stage.run(6 * DEADTIME)
    if stage.unheld():
        raise InvariantError("blocks stay unheld by those who vouch for each other")


def a_member_that_one_does_not_know_of() -> None:
    """Fail-safe: d is a member of the newest version; c holds by an older one, without d."""
    stage = Stage("abcd", failsafe=True, away="d")
    members = [name for name in stage.ranked() if name != "d"]
    third = members[-1]
    stage.catch(third, DOCUMENT)
    stage.do("start", "d")
    stage.until(lambda: all(stage.knows(name, "d") for name in ("d", *members[:-1])))
    stage.cut_off(*members)
    stage.run(8 * DEADTIME)


def two_of_three_cut_off() -> None:
    """Fail-safe: two vouch for each other; the master has ZooKeeper, and vouches for nobody."""
    stage = Stage("abc", failsafe=True)
    _, second, third = stage.ranked()
    stage.cut_off(second, third)
    stage.run(6 * DEADTIME)


def no_ensemble() -> None:
    """Fail-safe: the whole ensemble is gone for ten session timeouts, and nobody notices."""
    stage = Stage("abc", failsafe=True)
    for server in stage.world.zookeeper.servers:
        stage.do("down", server.number)
    for _ in range(40):
        stage.run(DEADTIME // 4)
        if stage.unheld():
            raise InvariantError("blocks stay unheld though all are in contact")
    stage.do("mend")
    stage.until(lambda: not stage.unheld() and stage.master() is not None)


def the_last_one_dies() -> None:
    """Fail-safe: who has been left alone is fenced by those who come back, for nobody vouches."""
    stage = Stage("ab", failsafe=True)
    master, second = stage.ranked()
    stage.do("reboot", second)
    stage.until(lambda: stage.accepts(master) == EVERYTHING)
    stage.run(2 * DEADTIME)
    stage.do("reboot", master)
    stage.do("start", second)
    stage.until(lambda: stage.accepts(second) == EVERYTHING)


def a_daemon_that_hangs() -> None:
    """A director that must give blocks up does nothing, and its connection is kept up."""
    stage = Stage("abc")
    master, second, third = stage.ranked()
    stage.do("hang", second, 60_000)
    stage.do("weigh", third, 300)
    stage.until(lambda: stage.accepts(master) | stage.accepts(third) == EVERYTHING)


def one_alone_is_cut_off() -> None:
    """Fail-safe: who is the only member has nobody to vouch for it, so others may fence it."""
    stage = Stage("ab", failsafe=True)
    master, second = stage.ranked()
    stage.do("reboot", second)
    stage.until(lambda: stage.accepts(master) == EVERYTHING)
    stage.run(2 * DEADTIME)
    stage.cut_off(master)
    stage.do("start", second)
    stage.until(lambda: stage.accepts(second) == EVERYTHING)


def an_answer_that_comes_late() -> None:
    """The lease: a write is done, the session is ended, and then the answer comes."""
    stage = Stage("abc")
    _, second, _ = stage.ranked()
    core = stage.core(second)
    stage.do("late", second, 0, 350)

    def unanswered() -> bool:
        asked = core._touching
        return asked is not None and stage[second].clock() > asked[1] + 100 * MS * NS

    stage.until(unanswered)
    before = core.proved
    stage.do("expire", second)
    stage.until(lambda: core.proved != before)
    stage.cut_off(second)  # before it hears, on another connection, that its session has ended
    stage.run(3 * DEADTIME)
