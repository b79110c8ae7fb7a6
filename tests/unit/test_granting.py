# SPDX-License-Identifier: GPL-2.0-or-later
"""R5: what the master may put into whose hands, and when."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from saru.core.beat import Allocation, Grant, Report
from saru.core.granting import MOVE_MAX, Director, Granting, Standing
from saru.core.invariants import well_formed
from saru.core.library import KEEP, Library
from saru.core.settings import Division
from saru.core.term import Session, Term, Version

BLOCKS = 8
EVERYTHING = (1 << BLOCKS) - 1
OLD, TERM = Term(4, 1, 1), Term(5, 0, 1)
LIFE = Session(1, 1)


class Directors:
    """What a master sees of its directors, and what it makes of that."""

    def __init__(self, names: str, blocks: int = BLOCKS) -> None:
        self.library = Library()
        self.blocks = blocks
        self.granting = Granting(TERM, (Division(1, blocks, 0),))
        self.made: list[Allocation] = []
        nothing = (Report(1, None, None),)
        self.seen = {
            name: Director(name, LIFE, Standing.REPORTED, nothing, 100, True, True)
            for name in names
        }

    def becomes(self, node: str, **fields: object) -> None:
        """What the master knows of `node` changes."""
        self.seen[node] = msgspec.structs.replace(self.seen[node], **fields)

    def takes(self, node: str, version: Version | None, taking: Version | None = None) -> None:
        """`node` reports this."""
        self.becomes(node, reports=(Report(1, version, taking),))

    def step(self) -> Allocation | None:
        """The next version, if one is due."""
        made = self.granting.step(
            tuple(self.seen[name] for name in sorted(self.seen)),
            self.library.get,
            self.library.known,
        )
        for allocation in made:
            well_formed(allocation, self.blocks)
            self.library.add(allocation)
            self.made.append(allocation)
        return made[0] if made else None

    def steps(self) -> None:
        """Everybody takes what is made, until nothing more is due."""
        while (made := self.step()) is not None:
            for name, director in self.seen.items():
                if director.standing is Standing.REPORTED and director.grantable:
                    self.takes(name, made.version)

    def hands(self, node: str, session: Session = LIFE) -> int:
        """The blocks that the newest version gives to this session of `node`."""
        return self.made[-1].bitmap(node, session) if self.made else 0


def settled(names: str, blocks: int = BLOCKS) -> Directors:
    directors = Directors(names, blocks)
    directors.steps()
    return directors


def grants(hands: dict[str, int]) -> list[Grant]:
    return [Grant(name, LIFE, bitmap.to_bytes(1, "little")) for name, bitmap in hands.items()]


# --- the first allocation of a term ---------------------------------------------------------------


def test_nothing_is_made_before_everybody_has_reported_or_is_fenced() -> None:
    directors = Directors("abc")
    directors.becomes("b", standing=Standing.UNKNOWN, grantable=False)
    assert directors.step() is None
    directors.becomes("b", standing=Standing.FENCED)
    made = directors.step()
    assert made is not None
    assert directors.hands("a") | directors.hands("c") == EVERYTHING


def test_the_first_one_keeps_every_reported_holder() -> None:
    directors = Directors("abc")
    before = {"a": 0b00001111, "b": 0b11110000}
    old = Allocation(1, Version(OLD, 7), tuple(grants(before)))
    directors.library.add(old)
    for name in "abc":
        directors.takes(name, old.version)
    first = directors.step()
    assert first is not None
    # Two lose blocks to the third, who gets none before they have let go; nothing else moves.
    assert not directors.hands("a") & ~before["a"]
    assert not directors.hands("b") & ~before["b"]
    assert not directors.hands("c")


def test_it_waits_for_what_is_on_its_way_into_a_kernel() -> None:
    directors = Directors("ab")
    old = Allocation(1, Version(OLD, 7), tuple(grants({"a": 0b1111, "b": 0b11110000})))
    directors.library.add(old)
    directors.takes("a", None, taking=old.version)
    directors.takes("b", old.version)
    assert directors.step() is None
    directors.takes("a", old.version)
    assert directors.step() is not None
    assert (directors.hands("a"), directors.hands("b")) == (0b1111, 0b11110000)


def test_it_waits_for_the_contents_of_every_reported_version() -> None:
    directors = Directors("ab")
    old = Allocation(1, Version(OLD, 7), tuple(grants({"a": 0b1111, "b": 0b11110000})))
    directors.takes("a", old.version)
    assert directors.step() is None
    assert [want.version for want in directors.granting.wants()] == [old.version]
    directors.library.add(old)
    assert directors.step() is not None
    assert not directors.granting.wants()


def test_the_answer_to_a_want_is_kept_however_old_it_is() -> None:
    """Sixteen newer versions are known; one director has slept through all of them."""
    library = Library()
    for serial in range(2, KEEP + 10):
        library.add(Allocation(1, Version(OLD, serial), ()))
    first = Allocation(1, Version(OLD, 1), tuple(grants({"a": 1})))
    library.report("a", (Report(1, first.version, None),))
    library.add(first)
    assert library.get(1, first.version) == first
    library.report("a", (Report(1, Version(OLD, KEEP + 9), None),))
    library.add(Allocation(1, Version(OLD, KEEP + 10), ()))
    assert library.get(1, first.version) is None


# --- moves ----------------------------------------------------------------------------------------


def test_a_move_takes_two_versions() -> None:
    directors = settled("ab")
    mine = directors.hands("a")
    directors.becomes("a", weight=0)
    out = directors.step()
    assert out is not None
    assert not directors.hands("a")
    assert not directors.hands("b") & mine
    directors.takes("b", out.version)
    assert directors.step() is None  # a has not let go
    directors.takes("a", directors.made[-2].version, taking=out.version)
    assert directors.step() is None  # and is only about to
    directors.takes("a", out.version)
    assert directors.step() is not None
    assert directors.hands("b") == EVERYTHING


def test_nothing_leaves_live_hands_while_somebody_is_unaccounted_for() -> None:
    """Nobody could be given it: whoever is silent may hold it."""
    directors = settled("abc")
    mine = directors.hands("a")
    directors.becomes("c", standing=Standing.UNKNOWN)
    directors.becomes("a", weight=0)
    directors.steps()
    assert directors.hands("a") == mine
    directors.becomes("c", standing=Standing.FENCED)
    directors.steps()
    assert not directors.hands("a")
    assert directors.hands("b") == EVERYTHING


def test_many_blocks_move_in_steps_that_follow_each_other() -> None:
    """Each version takes no more out of hands than is given on as soon as that is acknowledged."""
    blocks = 8 * MOVE_MAX
    directors = settled("abc", blocks)
    everything = (1 << blocks) - 1
    before = len(directors.made)
    directors.becomes("a", weight=0)
    moved = directors.hands("a").bit_count()
    directors.steps()
    made = directors.made[before:]
    assert len(made) == -(-moved // MOVE_MAX) + 1
    last = {grant.node: grant.bitmap() for grant in made[-1].grants}
    for allocation in made:
        held = 0
        for grant in allocation.grants:
            held |= grant.bitmap()
            if grant.node != "a":  # what it once has it keeps: the plan stands meanwhile
                assert not grant.bitmap() & ~last[grant.node]
        assert (everything & ~held).bit_count() <= MOVE_MAX
    assert directors.hands("b") | directors.hands("c") == everything


def test_a_version_not_acknowledged_may_still_be_taken() -> None:
    """a is given blocks, does not hear of it, and is to lose them again."""
    directors = settled("ab")
    held = directors.hands("a")
    directors.becomes("b", weight=0)
    out = directors.step()
    assert out is not None
    directors.takes("b", out.version)
    directors.takes("a", out.version)
    given = directors.step()
    assert given is not None
    new = directors.hands("a") & ~held
    assert new
    directors.takes("b", given.version)  # a has not taken it yet
    directors.becomes("a", weight=0)
    directors.becomes("b", weight=100)
    assert directors.step() is not None
    assert not directors.hands("a")
    assert not directors.hands("b") & new, "a may still take the version that gives it these"
    directors.takes("a", directors.made[-1].version)
    directors.takes("b", directors.made[-1].version)
    assert directors.step() is not None
    assert directors.hands("b") == EVERYTHING


def test_who_is_fenced_loses_its_blocks_in_one_step() -> None:
    directors = settled("abc")
    lost = directors.hands("b")
    directors.becomes("b", standing=Standing.FENCED, grantable=False)
    kept = {name: directors.hands(name) for name in "ac"}
    assert directors.step() is not None
    assert directors.hands("a") | directors.hands("c") == EVERYTHING
    assert not directors.hands("a") & ~(kept["a"] | lost)
    assert not directors.hands("c") & ~(kept["c"] | lost)


def test_while_one_is_unheard_nobody_gets_anything_new() -> None:
    directors = settled("abc")
    before = {name: directors.hands(name) for name in "abc"}
    directors.becomes("b", standing=Standing.UNKNOWN, grantable=False)
    directors.becomes("a", weight=10)
    directors.step()
    for name in "abc":
        assert not directors.hands(name) & ~before[name]


def test_a_new_session_holds_nothing_of_what_the_old_one_was_given() -> None:
    directors = settled("ab")
    held, again = directors.hands("a"), LIFE.next()
    directors.becomes("a", session=again, reports=(Report(1, None, None),))
    assert directors.step() is not None
    assert directors.hands("a", LIFE) == 0
    assert directors.hands("a", again) == held  # nobody else holds them: it may have them at once


def test_without_a_lease_nothing_is_given() -> None:
    directors = settled("ab")
    again = LIFE.next()
    directors.becomes("a", session=again, reports=(Report(1, None, None),), grantable=False)
    assert directors.step() is not None
    assert directors.hands("a", again) == 0


def test_a_newcomer_takes_nothing_from_a_live_holder_before_its_join_delay() -> None:
    directors = settled("ab")
    directors.seen["c"] = msgspec.structs.replace(
        directors.seen["a"], node="c", reports=(Report(1, None, None),), joined=False
    )
    assert directors.step() is None
    directors.becomes("c", joined=True)
    directors.steps()
    assert directors.hands("c")


def test_old_versions_are_forgotten_when_nobody_can_hold_blocks_by_them() -> None:
    directors = settled("abc")
    directors.becomes("c", session=LIFE.next(), reports=(Report(1, None, None),), grantable=False)
    for weight in range(1, 40):  # c never takes a version, for its rules are not there
        directors.becomes("a", weight=weight)
        directors.becomes("c", weight=0)
        directors.steps()
    ledger = directors.granting._ledgers[0]
    assert len(ledger.issued) <= 2


# --- whatever happens -----------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("report", "take", "take", "lapse", "fence", "silence", "weigh", "lease")),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=60,
)


class Truth:
    """What one director really holds, and what the master last heard of it."""

    def __init__(self) -> None:
        self.session = LIFE
        self.taken: Version | None = None
        self.held = 0

    def could_hold(self, made: list[Allocation], node: str) -> int:
        """Its blocks now, and those that it could take with versions on their way to it."""
        could = self.held
        for allocation in made:
            if self.taken is None or allocation.version > self.taken:
                could |= allocation.bitmap(node, self.session)
        return could


@settings(max_examples=300)
@given(EVENTS)
def test_no_version_gives_what_somebody_else_may_hold(events: list[tuple[str, int, int]]) -> None:
    directors = Directors("abc")
    truth = {name: Truth() for name in "abc"}
    directors.step()
    for kind, who, which in events:
        name = "abc"[who]
        director = truth[name]
        if kind == "take":
            newer = [a for a in directors.made if not director.taken or a.version > director.taken]
            if newer:
                allocation = newer[which % len(newer)]
                director.taken = allocation.version
                director.held = allocation.bitmap(name, director.session)
        elif kind in ("lapse", "fence"):
            director.session = director.session.next()
            director.taken, director.held = None, 0
            if kind == "fence":
                directors.becomes(name, standing=Standing.FENCED, grantable=False)
        elif kind == "silence":
            if directors.seen[name].standing is Standing.REPORTED:
                directors.becomes(name, standing=Standing.UNKNOWN, grantable=False)
        elif kind == "weigh":
            directors.becomes(name, weight=(0, 1, 50, 100)[which])
        elif kind == "lease":
            directors.becomes(name, grantable=bool(which % 2))
        else:
            directors.becomes(
                name,
                standing=Standing.REPORTED,
                session=director.session,
                reports=(Report(1, director.taken, None),),
                grantable=True,
            )
        old = directors.made[-1] if directors.made else None
        made = directors.step()
        if made is None:
            continue
        for node in "abc":
            session = directors.seen[node].session
            new = made.bitmap(node, session) & ~(old.bitmap(node, session) if old else 0)
            for other in "abc":
                if other != node:
                    held = truth[other].could_hold(directors.made[:-1], other)
                    assert not new & held, f"{other} may hold what {node} is given"
