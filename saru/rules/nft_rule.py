# SPDX-License-Identifier: GPL-2.0-or-later
"""One rule in nftables' words: from the clauses that iptables would take. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from saru.core.blocks import Map, Sense
from saru.core.settings import Division
from saru.dataplane.layout import judgement
from saru.rules.model import Family
from saru.rules.rule import Clause, Rule

_ADDRESS = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_ICMP = {"--icmp-type": "icmp", "--icmpv6-type": "icmpv6"}
_PORTS = {"--dport": "dport", "--dports": "dport", "--sport": "sport", "--sports": "sport"}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "RETURN": "return", "MASQUERADE": "masquerade"}
_JUDGED = frozenset({"--id", "--sense", "--map"})


def translated(rule: Rule, family: Family, divisions: Mapping[int, Division]) -> str:
    """The rule as nft takes it.

    Raises KeyError for a clause that the model does not use, and ValueError for `! --id`: several
    matches that all hold have no opposite here.
    """
    if any(clause.negated and clause.option in _JUDGED for clause in rule.clauses):
        raise ValueError(f"nftables has no words for the opposite of -m saru: {rule}")
    said = {clause.option: clause.values for clause in rule.clauses}
    protocol = said.get("-p", ("",))[0]
    words = []
    for clause in rule.clauses:
        if clause.option == "-m":
            if clause.values == ("saru",):
                words.append(_judged(said, family, divisions))
        elif clause.option not in _JUDGED:
            words.append(_clause(clause, family, protocol))
    # Behind all matches, so that it counts what the rule decided on.
    return " ".join((*words[:-1], "counter", words[-1]))


def _judged(
    said: Mapping[str, tuple[str, ...]], family: Family, divisions: Mapping[int, Division]
) -> str:
    """What `-m saru` stands for in a rule that says this."""
    division = divisions[int(said["--id"][0])]
    sense = Sense.parse(said.get("--sense", ("src-port",))[0])
    mapping = Map[said.get("--map", ("auto",))[0].upper()]
    kinds = [said[option][0] for option in _ICMP if option in said]
    about_another = bool(kinds) and kinds[0] in family.icmp.errors
    judged = judgement(division, sense, family.value, mapping, about=about_another)
    return f"counter {judged}"  # what this counts more than the rule's other one is rejected


def _clause(clause: Clause, family: Family, protocol: str) -> str:
    option, values = clause.option, clause.values
    unless = "!= " if clause.negated else ""
    if option in ("-s", "-d"):
        field = "saddr" if option == "-s" else "daddr"
        address = values[0].removesuffix({Family.IPV4: "/32", Family.IPV6: "/128"}[family])
        return f"{_ADDRESS[family]} {field} {unless}{address}"
    if option in ("-i", "-o"):
        return f'{"iifname" if option == "-i" else "oifname"} {unless}"{values[0]}"'
    if option == "-p":
        return f"meta l4proto {unless}{protocol}"
    if option in _PORTS:
        return f"{protocol} {_PORTS[option]} {unless}{_any_of(values[0].split(','))}"
    if option in _ICMP:
        return f"{_ICMP[option]} type {unless}{values[0]}"
    if option == "--tcp-flags":
        mask, these = (" | ".join(flags.lower().split(",")) for flags in values)
        return f"tcp flags & ({mask}) {'!=' if clause.negated else '=='} {these}"
    if option == "--ctstate":
        return f"ct state {unless}{values[0].lower()}"
    if option == "--src-type":
        return f"fib saddr type {unless}{values[0].lower()}"
    return {"-j": _VERDICTS}[option][values[0]]


def _any_of(values: Iterable[str]) -> str:
    several = list(values)
    return several[0] if len(several) == 1 else f"{{ {', '.join(several)} }}"
