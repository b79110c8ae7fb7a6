# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of a configuration as nftables holds them: chains of the table `inet saru`. Pure.

They are the rules of saru.rules.model in other words, both families in the same chains. Each has a
tag as its comment, which changes with all that the rule says: so what is there is compared with
what is wanted. To accept is to say no more than that: other tables' chains at the same hook have
their say as well, before or after. To drop is final.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from saru.config import Config, LinkMode
from saru.dataplane.layout import FAMILY, TABLE, definitions
from saru.rules.model import FORWARD, INPUT, MANGLE, NAT, Family, Place, rule_sets
from saru.rules.nft_rule import translated


@dataclass(frozen=True, slots=True)
class Hook:
    """Where packets come into a chain; `priority` is the lower the earlier."""

    type: str
    name: str
    priority: int

    def __str__(self) -> str:
        return f"type {self.type} hook {self.name} priority {self.priority}; policy accept;"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain, and of each of its rules the words. Without a hook no packet comes in."""

    name: str
    hook: Hook | None
    rules: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The comments of its rules."""
        return tuple(tag(rule) for rule in self.rules)

    def text(self) -> str:
        """What makes the chain so, whatever was in it."""
        where = f"{FAMILY} {TABLE} {self.name}"
        lines = [f"add chain {where}" + (f" {{ {self.hook} }}" if self.hook else "")]
        lines.append(f"flush chain {where}")
        lines += (f'add rule {where} {rule} comment "{tag(rule)}"' for rule in self.rules)
        return "".join(f"{line}\n" for line in lines)


# IPVS's own hooks come at 98 and later, connection tracking's at -200, defragmentation's at -400.
_HOOKS = {
    INPUT: ("input", Hook("filter", "input", 0)),
    FORWARD: ("forward", Hook("filter", "forward", 0)),
    MANGLE: ("postrouting", Hook("filter", "postrouting", -150)),
    NAT: ("nat", Hook("nat", "postrouting", 100)),
}
_MULTICAST = ("multicast", Hook("filter", "prerouting", -300))
# Nothing leads there. As long as such a rule exists the kernel joins fragments before anybody looks
# at them, as connection tracking would; without that only the first one has ports.
DEFRAGMENTATION = Chain("defragmentation", None, ("meta l4proto udp tproxy to :1",))
NAMES = frozenset({DEFRAGMENTATION.name, _MULTICAST[0], *(name for name, _ in _HOOKS.values())})
"""All chains that can be Saru's. Others of the table are somebody's who asks for blocks himself."""


def tag(rule: str) -> str:
    """A rule's comment."""
    return f"saru {hashlib.sha256(rule.encode()).hexdigest()[:12]}"


def chains(config: Config) -> tuple[Chain, ...]:
    """All chains that the configuration asks for; none where no service is configured."""
    divisions = {division.id: division for division in config.ids}
    rules: dict[Place, list[str]] = {}
    for each in rule_sets(config):
        for place, asked in each.chains:
            words = (translated(rule, each.family, divisions) for rule in asked)
            rules.setdefault(place, []).extend(words)
    found = [
        Chain(name, hook, tuple(dict.fromkeys(rules[place])))
        for place, (name, hook) in _HOOKS.items()
        if place in rules
    ]
    if marked := tuple(_marked(config)):
        found.append(Chain(*_MULTICAST, marked))
    return (DEFRAGMENTATION, *found) if found else ()


def text(config: Config) -> str:
    """The rules as `nft -f` takes them: one transaction, which may be repeated."""
    found = chains(config)
    made = definitions(division.id for division in config.ids) if found else ""
    return made + "".join(chain.text() for chain in found)


def _marked(config: Config) -> Iterator[str]:
    """A frame to a multicast MAC is for this host if it is for a VIP; TCP would refuse it."""
    if config.link is None or config.link.mode is not LinkMode.MULTICAST:
        return
    for vip in dict.fromkeys(service.vip for service in config.services):
        word = "ip" if Family.of(vip) is Family.IPV4 else "ip6"
        yield f"{word} daddr {vip} meta pkttype multicast meta pkttype set host"
