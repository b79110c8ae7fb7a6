# SPDX-License-Identifier: GPL-2.0-or-later
"""A run around ZooKeeper as a text that a person can read, and that can be played again.

    seed 17
    directors abc servers 3 failsafe yes ids 1
       0.000 start a
    2431.100 expire b

Times are in ms of true time. What the verbs mean is in `tests.sim.ensemble.faults`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.sim.scenario import Fault, lines


@dataclass(frozen=True)
class EnsembleScenario:
    """Everything that a run depends on."""

    seed: int
    directors: str
    servers: int = 3
    failsafe: bool = False
    ids: int = 1
    faults: tuple[Fault, ...] = ()

    def head(self) -> str:
        """The lines before the first fault."""
        failsafe = "yes" if self.failsafe else "no"
        return (
            f"seed {self.seed}\ndirectors {self.directors} servers {self.servers} "
            f"failsafe {failsafe} ids {self.ids}"
        )

    def __str__(self) -> str:
        return "\n".join([self.head(), *map(str, self.faults)]) + "\n"

    def only(self, faults: Iterable[Fault]) -> EnsembleScenario:
        """The same cluster with other faults."""
        return replace(self, faults=tuple(faults))


def parse(text: str) -> EnsembleScenario:
    """Read what `EnsembleScenario` writes. ValueError, with the line, if that cannot be."""
    settings, faults = lines(text, {"seed", "directors", "servers", "failsafe", "ids"})
    missing = {"seed", "directors"} - settings.keys()
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} is given")
    return EnsembleScenario(
        seed=int(settings["seed"]),
        directors=settings["directors"],
        servers=int(settings.get("servers", "3")),
        failsafe=settings.get("failsafe", "no") == "yes",
        ids=int(settings.get("ids", "1")),
        faults=faults,
    )
