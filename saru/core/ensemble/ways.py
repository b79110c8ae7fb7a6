# SPDX-License-Identifier: GPL-2.0-or-later
"""Ping nodes, with ZooKeeper: the master sees who reaches how many, and who gives way to whom.

Whoever gives way shall hold no blocks, as if it were drained. It touches no rule: it is a weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs

from saru.core.action import Change, Note
from saru.core.ensemble.record import Account
from saru.core.granting import Director
from saru.core.reach import Reach, Yielding


class Ways:
    """Which directors give way. `settle`, in ns: for how long it must have been otherwise."""

    def __init__(self, settle: int) -> None:
        self._settle = settle
        self._yielding: dict[str, Yielding] = {}

    def look(
        self, directors: Iterable[Director], accounts: Mapping[str, Account], now: int
    ) -> Iterator[Note]:
        """See what has changed; of those that could take blocks each has its weight."""
        present = list(directors)
        reached = {d.node: accounts[d.node].reach for d in present if d.node in accounts}
        for director in present:
            name = director.node
            others = self._others(name, present, reached)
            if name not in self._yielding:
                # A master that has just been elected goes by what it finds, without waiting.
                self._yielding[name] = Yielding(0)
            yielding = self._yielding[name]
            yielding.reach = reached.get(name)
            if yielding.look(others, now):
                what = "gives way" if yielding.yields else "takes part again"
                counts = ", ".join(f"{n} {r.count}" for n, r in sorted(reached.items()) if r)
                yield Note(Change.YIELD, name, what, f"ping nodes reached: {counts}")
            yielding.settle = self._settle

    def _others(
        self, name: str, present: Iterable[Director], reached: Mapping[str, Reach | None]
    ) -> list[Reach]:
        """What those reach that would hold the blocks of `name`."""
        takers = [d.node for d in present if d.node != name and d.weight and d.grantable]
        found = (reached.get(taker) for taker in takers if not self.yields(taker))
        return [reach for reach in found if reach is not None]

    def yields(self, name: str) -> bool:
        """Whether a director gives way."""
        return name in self._yielding and self._yielding[name].yields

    def given(self, director: Director) -> Director:
        """The director with the weight that counts."""
        return structs.replace(director, weight=0) if self.yields(director.node) else director

    def times(self) -> Iterator[int]:
        """When time alone changes it."""
        for yielding in self._yielding.values():
            yield from yielding.times()
