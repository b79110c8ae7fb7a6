# SPDX-License-Identifier: GPL-2.0-or-later
"""What was sent, who accepted it, and what follows from that. Pure: no socket, no clock.

A probe is a datagram with a number of its own. Which directors accepted it is known from frames:
those that carried it on to a real server, from a MAC of the director's own, or those that answered
it, from the director's own cable.
Times are CLOCK_MONOTONIC in nanoseconds and come from the caller.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

MS = 1_000_000


class Family(StrEnum):
    """Of the VIP's two addresses, the one that a probe goes to."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True)
class Phase:
    """A stretch of time that is judged as a whole."""

    name: str
    settled: bool
    """Whether every probe must have been accepted exactly once."""
    begin: int
    end: int
    """The first moment that is no longer part of it."""
    fault: int | None = None
    """When the director was lost, or came back; None where nothing happens."""
    planned: bool = False
    """Nothing was lost: blocks move from hand to hand, whenever their holders see fit."""


@dataclass(frozen=True)
class Counts:
    """How some probes fared, each accepted by so many directors."""

    probes: int
    accepted_once: int
    accepted_never: int
    accepted_twice: int
    """By two directors or more."""

    @classmethod
    def of(cls, accepted: Counter[int]) -> Self:
        """From the numbers of probes by how many directors accepted them; 2 is two or more."""
        return cls(accepted.total(), accepted[1], accepted[0], accepted[2])


@dataclass(frozen=True)
class Report:
    """How the probes of a phase fared. The fields' names are those of the JSON output."""

    name: str
    settled: bool
    seconds: float
    probes: int
    blocks_probed: int
    """How many different blocks the probes fell into."""
    accepted_once: int
    accepted_never: int
    accepted_twice: int
    """By two directors or more."""
    families: Mapping[Family, Counts]
    """The same, of the probes to either address."""
    per_director: Mapping[str, int]
    """Probes that each director accepted."""
    takeover_ms: float | None = None
    """Where something happened: for how long probes went unanswered, to the last of them. From
    the fault; where nothing was lost, from the first unanswered one."""
    connections: int = 0
    connections_answered: int = 0
    """By exactly one director, with a real server's name for an answer."""
    twice: tuple[str, ...] = ()
    """What was accepted by two directors or more, in words."""

    def passed(self) -> bool:
        """Nothing twice, ever; in a settled phase everything exactly once."""
        if self.accepted_twice:
            return False
        if not self.settled:
            return True
        complete = self.accepted_once == self.probes > 0
        return complete and self.connections_answered == self.connections


@dataclass
class Record:
    """The growing record. One thread calls `sent`, one `accepted` and `segment`; any may read."""

    directors: Mapping[str, str]
    """Names by what tells who accepted: the MAC from which each forwards, as in
    `00:50:56:4f:31:01`, or the name itself."""
    prefix: str = "probe "
    """What a probe's datagram says before its number; unlike that of any other prober there."""
    _sent: list[int] = field(default_factory=list)
    _blocks: list[int] = field(default_factory=list)
    _families: list[Family] = field(default_factory=list)
    _accepted: list[int] = field(default_factory=list)
    _when: list[list[tuple[str, int]]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _flows: dict[int, set[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many probes were sent."""
        return len(self._sent)

    def sent(self, block: int, now: int, family: Family = Family.IPV4) -> int:
        """A probe of `block` is about to be sent: its number, from 0."""
        self._blocks.append(block)
        self._families.append(family)
        self._accepted.append(0)
        self._when.append([])
        self._sent.append(now)
        return len(self._sent) - 1

    def accepted(self, number: int, who: str, now: int) -> None:
        """A frame of `who` shows that he accepted probe `number`. One never sent is ignored."""
        if 0 <= number < len(self._sent):
            name = self._name(who)
            self._accepted[number] |= 1 << self._bit(name)
            self._when[number].append((name, now))

    def twice(self, begin: int = 0, end: int | None = None) -> list[str]:
        """The probes of a stretch that two directors accepted, in words, with the moments.

        A probe that lay in a stalled director's queue until its block was his is told from one
        that two held at a time by how late the second was.
        """
        return [self._story(number) for number in self._of_two(begin, end)]

    def _of_two(self, begin: int = 0, end: int | None = None) -> list[int]:
        """The numbers of those probes."""
        numbers = self._slice(begin, end) if end is not None else range(len(self._sent))
        return [number for number in numbers if self._accepted[number].bit_count() > 1]

    def _story(self, number: int) -> str:
        sent = self._sent[number]
        frames = [f"{name} after {(when - sent) / MS:.1f} ms" for name, when in self._when[number]]
        where = f"block {self._blocks[number]} by {self._families[number]}"
        return f"probe {number}, {where}: {', '.join(frames)}"

    def segment(self, port: int, who: str) -> None:
        """A frame of `who` belongs to the TCP connection from the client's `port`."""
        self._flows.setdefault(port, set()).add(self._name(who))

    def flow(self, port: int) -> frozenset[str]:
        """The directors that took any part in the TCP connection from the client's `port`."""
        return frozenset(self._flows.get(port, ()))

    def _name(self, who: str) -> str:
        return self.directors.get(who, who)

    def _bit(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def _slice(self, begin: int, end: int) -> range:
        return range(bisect_left(self._sent, begin), bisect_left(self._sent, end))

    def steady(self, begin: int, end: int, blocks: int, everyone: Iterable[str]) -> str:
        """Why the probes of a stretch do not look settled; empty if they do.

        They do if all `blocks` were probed, each probe was accepted once, each block by one
        director throughout, and each of `everyone` has his share, give or take a tenth.
        """
        holder: dict[int, int] = {}
        for number in self._slice(begin, end):
            accepted, block = self._accepted[number], self._blocks[number]
            if accepted.bit_count() != 1:
                many = "nobody" if not accepted else "two directors"
                return f"block {block} was answered by {many}"
            if holder.setdefault(block, accepted) != accepted:
                return f"block {block} moved"
        if len(holder) < blocks:
            return f"{blocks - len(holder)} blocks are still to be probed"
        names = list(everyone)
        shares = Counter(self._names[mask.bit_length() - 1] for mask in holder.values())
        if strangers := sorted(set(shares) - set(names)):
            return f"{strangers[0]} still holds {shares[strangers[0]]} blocks"
        for name in names:
            if shares[name] < 0.9 * blocks / len(names):
                return f"{name} holds {shares[name]} of {blocks} blocks"
        return ""

    def report(self, phase: Phase, connections: Iterable[bool] = ()) -> Report:
        """How the probes sent during a phase fared, and its TCP connections (True: answered)."""
        counts: dict[Family, Counter[int]] = {family: Counter() for family in Family}
        shares: Counter[str] = Counter(dict.fromkeys(self.directors.values(), 0))
        unanswered = []
        seen = set()
        for number in self._slice(phase.begin, phase.end):
            accepted = self._accepted[number]
            seen.add(self._blocks[number])
            counts[self._families[number]][min(accepted.bit_count(), 2)] += 1
            shares.update(name for bit, name in enumerate(self._names) if accepted >> bit & 1)
            if not accepted:
                unanswered.append(self._sent[number])
        answered = list(connections)
        every = Counts.of(sum(counts.values(), Counter()))
        return Report(
            name=phase.name,
            settled=phase.settled,
            seconds=round((phase.end - phase.begin) / 1e9, 3),
            probes=every.probes,
            blocks_probed=len(seen),
            accepted_once=every.accepted_once,
            accepted_never=every.accepted_never,
            accepted_twice=every.accepted_twice,
            families={family: Counts.of(counts[family]) for family in Family},
            per_director=dict(shares),
            takeover_ms=_takeover(phase, unanswered),
            connections=len(answered),
            connections_answered=sum(answered),
            twice=tuple(self.twice(phase.begin, phase.end)),
        )


def _takeover(phase: Phase, unanswered: list[int]) -> float | None:
    if phase.fault is None:
        return None
    lost = [moment for moment in unanswered if moment >= phase.fault]
    if not lost:
        return 0.0
    return round((lost[-1] - (lost[0] if phase.planned else phase.fault)) / MS, 1)
