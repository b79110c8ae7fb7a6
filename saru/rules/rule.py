# SPDX-License-Identifier: GPL-2.0-or-later
"""One iptables rule as a value: from and to the text that iptables-save and -restore speak.

A rule is a row of clauses: `-d 172.17.60.201/32`, `-m saru`, `--id 1`, `-j ACCEPT`. A `!` before an
option negates its clause. Two rules mean the same if their `canonical` forms are equal: what the
tools print back names numbers where a person writes words, and orders things their own way.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

_LISTS = frozenset({"--ctstate", "--state", "--tcp-flags", "--dports", "--sports", "--ports"})
_LONG = {
    "--source": "-s",
    "--destination": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--match": "-m",
    "--jump": "-j",
    "--goto": "-g",
    "--destination-ports": "--dports",
    "--source-ports": "--sports",
    "--destination-port": "--dport",
    "--source-port": "--sport",
}
_ADDRESSES = frozenset({"-s", "-d"})
PROTOCOL_NUMBERS = {
    "icmp": "1",
    "tcp": "6",
    "udp": "17",
    "dccp": "33",
    "ipv6-icmp": "58",
    "icmpv6": "58",
    "sctp": "132",
    "udplite": "136",
}
_ICMP_TYPES = {
    "--icmp-type": {
        "destination-unreachable": "3",
        "echo-request": "8",
        "time-exceeded": "11",
        "ttl-exceeded": "11",
        "parameter-problem": "12",
    },
    "--icmpv6-type": {
        "destination-unreachable": "1",
        "packet-too-big": "2",
        "time-exceeded": "3",
        "ttl-exceeded": "3",
        "parameter-problem": "4",
        "echo-request": "128",
    },
}
_PORT_SENSES = frozenset({"src-port", "dst-port"})


@dataclass(frozen=True, slots=True, order=True)
class Clause:
    """One option with its values."""

    option: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def __str__(self) -> str:
        words = (self.option, *(shlex.quote(value) for value in self.values))
        return ("! " if self.negated else "") + " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, without the chain that it stands in."""

    clauses: tuple[Clause, ...]

    def __str__(self) -> str:
        return " ".join(str(clause) for clause in self.clauses)

    @property
    def target(self) -> str:
        """What it jumps to; empty if it only counts."""
        for clause in self.clauses:
            if clause.option in ("-j", "-g"):
                return clause.values[0]
        return ""

    def canonical(self) -> tuple[tuple[Clause, ...], ...]:
        """A form that is equal for all rules that mean the same.

        The first group holds what belongs to no match; each further one a match, its name first.
        """
        groups: list[list[Clause]] = [[]]
        for clause in self.clauses:
            plain = _plain(clause)
            if plain.option == "-m":
                groups.append([plain])
            elif plain.option.startswith("--"):
                groups[-1].append(plain)
            else:
                groups[0].append(plain)
        matches = sorted(tuple(_without_defaults(group)) for group in groups[1:])
        return (tuple(sorted(groups[0])), *matches)


def rule(*parts: str | Clause) -> Rule:
    """A rule from texts of one or more clauses each: rule("-p tcp", "-m saru --id 1")."""
    clauses: list[Clause] = []
    for part in parts:
        clauses += (part,) if isinstance(part, Clause) else parse(part).clauses
    return Rule(tuple(clauses))


def parse(text: str) -> Rule:
    """The rule in a line of iptables-save, without its `-A CHAIN` and counters.

    Raises ValueError if the text is not a row of options.
    """
    words = shlex.split(text)
    clauses: list[Clause] = []
    place = 0
    while place < len(words):
        negated = words[place] == "!"
        place += negated
        if place >= len(words) or not _is_option(words[place]):
            raise ValueError(f"no option where one should stand: {text!r}")
        option = words[place]
        place += 1
        values: list[str] = []
        # An old way to negate, `--icmp-type ! echo-request`, is understood as well.
        if words[place : place + 1] == ["!"] and not _is_option("".join(words[place + 1 :][:1])):
            negated = True
            place += 1
        while place < len(words) and words[place] != "!" and not _is_option(words[place]):
            values.append(words[place])
            place += 1
        clauses.append(Clause(_LONG.get(option, option), tuple(values), negated))
    return Rule(tuple(clauses))


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit()


def _plain(clause: Clause) -> Clause:
    values = clause.values
    if clause.option == "--syn":
        return Clause("--tcp-flags", ("ACK,FIN,RST,SYN", "SYN"), clause.negated)
    if clause.option in _ADDRESSES:
        values = tuple(_network(value) for value in values)
    elif clause.option == "-p":
        values = tuple(PROTOCOL_NUMBERS.get(value, value) for value in values)
    elif clause.option in _ICMP_TYPES:
        names = _ICMP_TYPES[clause.option]
        values = tuple(names.get(value, value) for value in values)
    elif clause.option in _LISTS:
        values = tuple(",".join(sorted(value.split(","))) for value in values)
    return Clause(clause.option, values, clause.negated)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:  # a mask that is no prefix: left as it stands
        return text


def _without_defaults(group: Iterable[Clause]) -> list[Clause]:
    """A match's clauses, its name first, the others sorted; what says nothing is left out."""
    name, *options = group
    if name.values == ("saru",):
        senses = [c.values[0] for c in options if c.option == "--sense" and c.values]
        sense = senses[0] if senses else "src-port"
        usual = "range" if sense in _PORT_SENSES else "hash"
        silent = {Clause("--sense", ("src-port",)), Clause("--map", (usual,))}
        options = [option for option in options if option not in silent]
    return [name, *sorted(options)]
