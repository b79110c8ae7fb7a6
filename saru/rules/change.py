# SPDX-License-Identifier: GPL-2.0-or-later
"""What is there, what differs from what is wanted, and the change that mends it. Pure.

What is there is read from the text of iptables-save; a change is a text for iptables-restore, one
table each, which the kernel takes as a whole or not at all. Only Saru's own chains and the jumps to
them are ever named in a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from saru.rules.model import PLACES, Place, RuleSet
from saru.rules.rule import Clause, Rule, parse

# A rule with one of these targets may stand before our jump: it lets nothing pass by us.
_HARMLESS = frozenset({"", "DROP", "REJECT", "LOG", "NFLOG", "AUDIT"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All chains of one family: by table and name, their rules in order."""

    chains: Mapping[tuple[str, str], tuple[Rule, ...]]

    @classmethod
    def read(cls, text: str) -> Snapshot:
        """From the output of iptables-save."""
        chains: dict[tuple[str, str], list[Rule]] = {}
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith(":"):
                chains.setdefault((table, line[1:].split()[0]), [])
            elif line.startswith("-A "):
                _, chain, *rest = line.split(maxsplit=2)
                chains.setdefault((table, chain), []).append(_lenient("".join(rest)))
        return cls({key: tuple(rules) for key, rules in chains.items()})

    def rules(self, table: str, chain: str) -> tuple[Rule, ...]:
        """The rules of a chain; none if there is no such chain."""
        return self.chains.get((table, chain), ())

    def has(self, place: Place) -> bool:
        """Whether Saru's chain is there."""
        return (place.table, place.chain) in self.chains


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule in somebody else's chain that leads to one of Saru's; `position` counts from 1."""

    chain: str
    position: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one table, at once."""

    table: str
    fill: tuple[tuple[str, tuple[Rule, ...]], ...] = ()  # chains made or emptied, then filled
    drop: tuple[str, ...] = ()  # chains that go
    unjump: tuple[Jump, ...] = ()
    jump: tuple[Jump, ...] = ()

    def text(self) -> str:
        """As `iptables-restore --noflush` takes it."""
        lines = [f"*{self.table}"]
        lines += (f":{chain} - [0:0]" for chain, _ in self.fill)
        lines += (f"-A {chain} {rule}" for chain, rules in self.fill for rule in rules)
        lines += (f"-D {jump.chain} {jump.rule}" for jump in self.unjump)
        lines += (f"-I {jump.chain} {jump.position} {jump.rule}" for jump in self.jump)
        lines += (f"-F {chain}" for chain in self.drop)
        lines += (f"-X {chain}" for chain in self.drop)
        return "".join(f"{line}\n" for line in (*lines, "COMMIT"))

    def words(self) -> Iterator[str]:
        """What it does, a line each, for the user."""
        for chain, rules in self.fill:
            yield f"{self.table}: chain {chain}: {len(rules)} rules set"
        for jump in self.jump:
            yield f"{self.table}: {jump.chain} jumps to {jump.rule.target} first"
        for jump in self.unjump:
            yield f"{self.table}: {jump.chain}: the jump at {jump.position} removed"
        for chain in self.drop:
            yield f"{self.table}: chain {chain} removed"

    def inverse(self, before: Snapshot) -> Change:
        """What undoes it, given what was there before."""
        touched = [chain for chain, _ in self.fill] + list(self.drop)
        there = [chain for chain in touched if (self.table, chain) in before.chains]
        return Change(
            self.table,
            fill=tuple((chain, before.rules(self.table, chain)) for chain in there),
            drop=tuple(chain for chain in touched if chain not in there),
            unjump=self.jump,
            jump=self.unjump,
        )


def differences(there: Snapshot, wanted: RuleSet) -> list[str]:
    """What is missing or different, a line each; empty if all is as it should be."""
    rules = dict(wanted.chains)
    found = (
        _of_chain(there, place, rules.get(place)) + _of_jump(there, place, place in rules)
        for place in PLACES
    )
    return [f"{wanted.family}: {each}" for place in found for each in place]


def plan(there: Snapshot, wanted: RuleSet) -> tuple[Change, ...]:
    """The changes that lead from what is there to what is wanted; none where nothing differs."""
    rules = dict(wanted.chains)
    changes = []
    for table in dict.fromkeys(place.table for place in PLACES):
        fill, drop = [], []
        unjump: list[Jump] = []
        jump: list[Jump] = []
        for place in (place for place in PLACES if place.table == table):
            if place in rules:
                if _of_chain(there, place, rules[place]):
                    fill.append((place.chain, rules[place]))
                if _of_jump(there, place, wanted=True):
                    unjump += _jumps(there, place, place.hook)
                    jump.append(Jump(place.hook, 1, place.jump))
            elif there.has(place):
                drop.append(place.chain)
                unjump += _jumps(there, place)
        if fill or drop or unjump or jump:
            changes.append(Change(table, tuple(fill), tuple(drop), tuple(unjump), tuple(jump)))
    return tuple(changes)


def _of_chain(there: Snapshot, place: Place, wanted: tuple[Rule, ...] | None) -> list[str]:
    name = f"{place.table}: chain {place.chain}"
    if wanted is None:
        return [f"{name} is there, but nothing asks for it"] if there.has(place) else []
    if not there.has(place):
        return [f"{name} is missing"]
    actual = there.rules(place.table, place.chain)
    have = Counter(rule.canonical() for rule in actual)
    want = Counter(rule.canonical() for rule in wanted)
    found = [f"{name}: missing: {rule}" for rule in _beyond(wanted, have)]
    found += [f"{name}: not asked for: {rule}" for rule in _beyond(actual, want)]
    if not found and [r.canonical() for r in actual] != [r.canonical() for r in wanted]:
        found.append(f"{name}: its rules stand in another order")
    return found


def _beyond(rules: Iterable[Rule], others: Counter[tuple[tuple[Clause, ...], ...]]) -> list[Rule]:
    left = Counter(others)
    beyond = []
    for rule in rules:
        form = rule.canonical()
        if left[form]:
            left[form] -= 1
        else:
            beyond.append(rule)
    return beyond


def _of_jump(there: Snapshot, place: Place, wanted: bool) -> list[str]:
    name = f"{place.table}: {place.hook}"
    jumps = _jumps(there, place, place.hook)
    if not wanted:
        return [f"{name} jumps to {place.chain}, but nothing asks for it"] if jumps else []
    plain = [j for j in jumps if j.rule.canonical() == place.jump.canonical()]
    if not plain:
        return [f"{name} does not jump to {place.chain}"]
    if len(jumps) > 1:
        return [f"{name} jumps to {place.chain} {len(jumps)} times"]
    before = there.rules(place.table, place.hook)[: plain[0].position - 1]
    own = {other.chain for other in PLACES}
    for position, rule in enumerate(before, 1):
        if rule.target not in _HARMLESS | own:
            return [
                f"{name}: rule {position} ({rule}) stands before the jump to {place.chain} "
                "and may let packets pass by it"
            ]
    return []


def _jumps(there: Snapshot, place: Place, hook: str | None = None) -> list[Jump]:
    """The rules that lead to Saru's chain: those of one chain, or of all chains of its table."""
    return [
        Jump(chain, position, rule)
        for (table, chain), rules in there.chains.items()
        if table == place.table and hook in (None, chain)
        for position, rule in enumerate(rules, 1)
        if rule.target == place.chain
    ]


def _lenient(text: str) -> Rule:
    """A rule that somebody else wrote, even if it is no row of options that we know."""
    try:
        return parse(text)
    except ValueError:
        return Rule((Clause(text),))
