# SPDX-License-Identifier: GPL-2.0-or-later
"""What is there of Saru's chains in nftables, and the transaction that makes it right. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saru.dataplane.layout import FAMILY, TABLE
from saru.rules.nft_model import NAMES, Chain, Hook

_NAMES = f"{FAMILY} {TABLE}"


@dataclass(frozen=True, slots=True)
class FoundChain:
    """A chain as nft lists it. Of each rule the comment, empty where it has none."""

    hook: Hook | None
    policy: str
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The table `inet saru` as nft lists it."""

    there: bool
    dormant: bool
    chains: Mapping[str, FoundChain]

    @classmethod
    def read(cls, objects: Iterable[Mapping[str, Any]]) -> Found:
        """From the objects of nft's JSON, of this table alone."""
        there = dormant = False
        hooks: dict[str, tuple[Hook | None, str]] = {}
        comments: dict[str, list[str]] = {}
        for each in objects:
            if table := each.get("table"):
                # Whatever it is called: nft 1.0.6 writes another word for "dormant".
                there, dormant = True, "flags" in table
            elif chain := each.get("chain"):
                based = "hook" in chain
                hook = Hook(chain["type"], chain["hook"], chain["prio"]) if based else None
                hooks[chain["name"]] = (hook, chain.get("policy", ""))
            elif rule := each.get("rule"):
                comments.setdefault(rule["chain"], []).append(rule.get("comment", ""))
        return cls(
            there,
            dormant,
            {
                name: FoundChain(*hook, tuple(comments.get(name, ())))
                for name, hook in hooks.items()
            },
        )


def differences(found: Found, wanted: Sequence[Chain]) -> list[str]:
    """What is missing or different, a line each; empty if all is as it should be."""
    if not found.there:
        return [f"table {_NAMES} is missing"] if wanted else []
    lines = [f"table {_NAMES} is dormant: no packet comes to it"] if found.dormant else []
    for chain in wanted:
        lines += _of_chain(found.chains.get(chain.name), chain)
    return lines + [
        f"chain {name} is there, but nothing asks for it" for name in _extra(found, wanted)
    ]


def transaction(found: Found, wanted: Sequence[Chain]) -> tuple[str, list[str]]:
    """The commands that lead from what is there to what is wanted, and what they do, in words.

    Chains that are as they should be are not touched. The sets that rules name must be there, or be
    made in the same transaction.
    """
    commands, words = [], []
    if found.dormant:
        commands.append(f"add table {_NAMES}\n")
        words.append(f"table {_NAMES}: awake again")
    for name in _extra(found, wanted):
        commands.append(f"flush chain {_NAMES} {name}\n")
    for chain in wanted:
        there = found.chains.get(chain.name)
        if not _of_chain(there, chain):
            continue
        if there is not None and _hook_of(there) != _hook_of(chain):
            commands.append(f"flush chain {_NAMES} {chain.name}\n")
            commands.append(f"delete chain {_NAMES} {chain.name}\n")
        commands.append(chain.text())
        words.append(f"chain {chain.name}: {len(chain.rules)} rules set")
    for name in _extra(found, wanted):
        commands.append(f"delete chain {_NAMES} {name}\n")
        words.append(f"chain {name} removed")
    return "".join(commands), words


def _of_chain(there: FoundChain | None, wanted: Chain) -> list[str]:
    name = f"chain {wanted.name}"
    if there is None:
        return [f"{name} is missing"]
    if _hook_of(there) != _hook_of(wanted):
        return [f"{name} is not at its place: {wanted.hook or 'no hook'}"]
    lines = [
        f"{name}: missing: {rule}"
        for rule, tag in zip(wanted.rules, wanted.tags, strict=True)
        if tag not in there.comments
    ]
    others = sum(comment not in wanted.tags for comment in there.comments)
    if others:
        lines.append(f"{name}: {others} rules that nothing asks for")
    if not lines and there.comments != wanted.tags:
        lines.append(f"{name}: its rules stand in another order, or twice")
    return lines


def _hook_of(chain: FoundChain | Chain) -> tuple[Hook | None, str]:
    if isinstance(chain, FoundChain):
        return chain.hook, chain.policy
    return chain.hook, "accept" if chain.hook else ""


def _extra(found: Found, wanted: Sequence[Chain]) -> Iterator[str]:
    asked = {chain.name for chain in wanted}
    return (name for name in found.chains if name in NAMES - asked)
