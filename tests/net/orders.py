# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator does to a cluster while it has faults: orders that begin, last, and are undone.

An order can be refused, as nobody may be there to ask, to hear of it, or to take a drained
director's blocks. That is no failure; when the faults have ended, `Orders.undo` leaves nothing.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from deploy.lab.cache import LabError
from deploy.lab.cluster import Cluster
from deploy.lab.node import Node, wait_until
from saru import control
from saru.daemon.operator import Outcome
from saru.errors import OutageError, SaruError
from tests.storm import PATIENCE, Fault

WEIGHT = 100
"""That of every director to begin with."""
LIMITS = (0.2, 1.0, 2.0)
"""Seconds that an order may take."""
LAST_LINES = 40  # of a log, for who wants to know why a director obeys nobody
ANSWER = 1.0
"""Seconds that a daemon may take beyond those."""
AFTER_ALL = 4.0
"""Seconds in which a daemon that has read an order late obeys it, or gives it up."""


@dataclass
class Orders:
    """Those of one storm, and what came of them."""

    cluster: Cluster
    obeyed: int = 0
    refused: int = 0
    _unheard: set[str] = field(default_factory=set)
    """Who has not said in time that it leaves, and may do so all the same."""

    def _ask(self, asked: Node, what: str, limit: float, **arguments: Any) -> bool:
        """Whether a node's daemon did it."""
        obeyed = _obeyed(asked, what, limit, **arguments)
        self.obeyed += obeyed
        self.refused += not obeyed
        return obeyed

    def _through(self, node: Node, chance: random.Random) -> Node:
        """Whom to ask for what a director shall do: itself, or any other one."""
        return chance.choice([node, chance.choice(list(self.cluster.nodes.values()))])

    def _share(
        self,
        text: str,
        node: Node,
        chance: random.Random,
        begin: dict[str, Any],
        end: dict[str, Any],
    ) -> Fault:
        first, last = self._through(node, chance), self._through(node, chance)
        limit = chance.choice(LIMITS)

        def ask(asked: Node, arguments: dict[str, Any]) -> Callable[[], object]:
            return lambda: self._ask(asked, "share", limit, node=node.name, **arguments)

        text = f"{node.name} {text} by {first.name}, and back by {last.name}"
        return Fault(text, (), ask(first, begin), ask(last, end))

    def drained(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """A director is drained and undrained, by its own daemon or by another one."""
        force = chance.random() < 0.2
        begin = {"drained": True, "wait": chance.random() < 0.5, "force": force}
        text = "drained by force" if force else "drained"
        return self._share(text, node, chance, begin, {"drained": False})

    def weighed(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """A director's weight is changed, and changed back."""
        weight = chance.choice((0, 1, 50, 300))
        return self._share(
            f"weighed {weight}", node, chance, {"weight": weight}, {"weight": WEIGHT}
        )

    def left(self, _: Cluster, node: Node, chance: random.Random) -> Fault:
        """A director's daemon is asked to leave, and started again if it did."""
        limit = chance.choice(LIMITS)

        def begin() -> None:
            self._unheard.discard(node.name)
            try:
                control.ask(node.socket, Outcome, "leave", timeout=limit + ANSWER, limit=limit)
            except SaruError as error:
                self.refused += 1
                if isinstance(error, OutageError):
                    self._unheard.add(node.name)
            else:
                self.obeyed += 1
                node.wait_ended()

        def end() -> None:
            if node.name in self._unheard:
                with contextlib.suppress(LabError):
                    wait_until(f"{node.name} leaves after all", lambda: not node.running, AFTER_ALL)
            if not node.running:
                node.start()
                node.wait_ready()

        return Fault(f"{node.name} leaves", (node.name,), begin, end)

    def undo(self) -> None:
        """Every director is as it was at first; their daemons all run."""
        for node in self.cluster.directors:
            try:
                wait_until(
                    f"{node.name} takes its share again", partial(self._again, node), PATIENCE
                )
            except LabError as error:
                state = "its daemon runs" if node.running else "it has no daemon"
                said = "\n".join(node.log().splitlines()[-LAST_LINES:])
                raise LabError(f"{error}; {state}; it said last:\n{said}") from None

    def _again(self, node: Node) -> bool:
        if node.name in self._unheard and not node.running:
            node.start()
            node.wait_ready()
        return _obeyed(node, "share", max(LIMITS), weight=WEIGHT, drained=False)

    def __str__(self) -> str:
        return f"{self.obeyed} orders obeyed, {self.refused} refused"


def _obeyed(asked: Node, what: str, limit: float, **arguments: Any) -> bool:
    try:
        control.ask(asked.socket, Outcome, what, timeout=limit + ANSWER, limit=limit, **arguments)
    except SaruError:
        return False
    return True
