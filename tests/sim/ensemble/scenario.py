# SPDX-License-Identifier: GPL-2.0-or-later
"""A run around ZooKeeper as a text that a person can read, and that can be played again.

    seed 17
    directors abc servers 3 failsafe yes ids 1
       0.000 start a
    2431.100 expire b

Times are in ms of true time. What the verbs mean is in `tests.sim.ensemble.faults`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.scenario import Course, lines, on_nftables

NEEDED = {"seed", "directors"}
KEYS = NEEDED | {"kernel", "servers", "failsafe", "ids"}


@dataclass(frozen=True)
class EnsembleScenario(Course):
    """Everything that a run around ZooKeeper depends on."""

    WHO = "directors"

    directors: str
    servers: int = 3
    failsafe: bool = False
    ids: int = 1

    def cluster(self) -> str:
        failsafe = "yes" if self.failsafe else "no"
        return (
            f"directors {self.directors} servers {self.servers} failsafe {failsafe} ids {self.ids}"
        )


def parse(text: str) -> EnsembleScenario:
    """Read what `EnsembleScenario` writes. ValueError, with the line, if that cannot be."""
    settings, faults = lines(text, NEEDED, KEYS)
    return EnsembleScenario(
        seed=int(settings["seed"]),
        nftables=on_nftables(settings),
        directors=settings["directors"],
        servers=int(settings.get("servers", "3")),
        failsafe=settings.get("failsafe", "no") == "yes",
        ids=int(settings.get("ids", "1")),
        faults=faults,
    )
