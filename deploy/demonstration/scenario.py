# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens in the demonstration, in order, while every block is probed without a pause."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from textwrap import indent

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Connection, Connections, Prober
from deploy.demonstration.probing import TARGETS, probing
from deploy.demonstration.record import Phase, Record, Report
from deploy.demonstration.stage import Pace, Say, Stage
from deploy.lab.cache import LabError

BLOCKS = 1024
ROUNDS = 2
"""How often a settled phase probes every block, at least: once at each of the VIP's addresses."""
CONNECTIONS = 100
"""TCP connections in a settled phase."""
LAST_SECONDS = 1.0
"""How long the last answers are waited for."""
TAKEOVER = 1.03
"""A settled phase begins this many times the deadtime after a fault, and the pace's grace later."""


def settled_after(pace: Pace) -> float:
    """Seconds from a fault to the settled phase after it."""
    return TAKEOVER * pace.deadtime + pace.grace


class Scenario:
    """The faults, and the phases between them. `stage` is up already."""

    def __init__(self, stage: Stage, say: Say) -> None:
        self._stage = stage
        self._pace = stage.pace
        self._say = say
        self._directors = stage.directors
        self.record = Record(stage.names, prefix=f"probe {secrets.token_hex(4)} ")
        self._capture = Capture(self.record, stage.wires, stage.tap, TARGETS)
        self._prober = Prober(self.record, stage.client, TARGETS, BLOCKS, stage.pace.rate)
        self._connections = Connections(stage.client, TARGETS, BLOCKS)
        self._made: dict[Phase, list[Connection]] = {}
        self._phases: list[Phase] = []
        self._begin = 0
        self.trouble = ""
        """Why the scenario was not played to its end; empty if it was."""

    def play(self) -> list[Report]:
        """Let it all happen; a report for each phase that was, in order."""
        with probing(self._capture, self._prober, self._pace.drain):
            self._begin = time.monotonic_ns()
            try:
                self._play()
            except LabError as error:
                self.trouble = str(error)
                self._end_phase("broken off", settled=False)
            time.sleep(LAST_SECONDS)
        return [self._report(phase) for phase in self._phases]

    def _play(self) -> None:
        steady = self._await_steady()
        self._end_phase("the directors start", settled=False)
        if not steady:
            self._settled("the directors as they are")
            raise LabError("the start did not settle; nothing else is tried")

        master = self._settled(
            f"{len(self._directors)} directors share the VIP", self._directors[0]
        )
        other = next(name for name in self._directors if name != master)
        self._fault(f"{master}, the master, loses power", lambda: self._stage.power_cut(master))
        self._settled(f"without {master}")
        self._return(f"{master} boots and returns", lambda: self._stage.boot(master, self._say))

        second = self._settled(f"{master} is back", other)
        self._fault(f"{second}, the master, its daemon stopped", lambda: self._stage.freeze(second))
        self._settled(f"without {second}'s daemon")
        self._return(f"{second}'s daemon goes on", lambda: self._stage.thaw(second))

        third = self._settled(f"{second} is back", master)
        self._fault(
            f"{third}, the master, cut off from the others", lambda: self._stage.isolate(third)
        )
        self._settled(f"{third} cut off from the others")
        self._return(f"{third}'s cables mended", self._stage.heal)
        self._settled(f"{third} is back")

    def _settled(self, name: str, asked: str | None = None) -> str:
        """A phase in which every probe must be accepted exactly once.

        Who is master at its end, as the daemon of `asked` says.
        """
        self._say(f"{name}: every block probed {ROUNDS} times or more, {CONNECTIONS} connections")
        first = len(self.record)
        enough = time.monotonic() + self._pace.connections
        made = self._connections.make(CONNECTIONS, lambda: time.monotonic() > enough)
        while len(self.record) < first + ROUNDS * BLOCKS:
            self._sleep(0.05)
        master = self._stage.master(asked) if asked else ""
        phase = self._end_phase(name, settled=True)
        self._made[phase] = made
        return master

    def _fault(self, name: str, strike: Callable[[], object]) -> None:
        """Something breaks; until the next phase begins, some blocks may go unanswered."""
        self._sleep(self._pace.drain)
        self._say(name)
        fault = time.monotonic_ns()
        strike()
        # On a busy host it takes a while until a director has done what it is told.
        settled = time.monotonic() + settled_after(self._pace)
        while time.monotonic() < settled:
            self._sleep(0.01)
        self._end_phase(name, settled=False, fault=fault)

    def _return(self, name: str, mend: Callable[[], object]) -> None:
        """Somebody comes back; the phase lasts until he holds his share."""
        self._sleep(self._pace.drain)
        self._say(name)
        fault = time.monotonic_ns()
        mend()
        self._await_steady(fault)
        self._end_phase(name, settled=False, fault=fault, planned=True)

    def _end_phase(
        self, name: str, *, settled: bool, fault: int | None = None, planned: bool = False
    ) -> Phase:
        """A phase from the end of the one before until now."""
        begin = self._phases[-1].end if self._phases else self._begin
        phase = Phase(name, settled, begin, time.monotonic_ns(), fault, planned)
        self._phases.append(phase)
        return phase

    def _await_steady(self, since: int = 0) -> bool:
        """Wait until each director is seen to hold his share; say so if it takes too long."""
        window = int(1.3e9 * BLOCKS / self._pace.rate)
        limit = time.monotonic() + self._pace.patience
        while True:
            self._sleep(self._pace.look)
            end = time.monotonic_ns() - int(self._pace.drain * 1e9)
            why = self.record.steady(max(since, end - window), end, BLOCKS, self._directors)
            if not why:
                return True
            if time.monotonic() > limit:
                self._say(f"not settled after {self._pace.patience:.0f} seconds: {why}")
                self._ask()
                return False

    def _ask(self) -> None:
        """Let every director say how it does, for who wants to know why something did not settle:
        the lab will be gone."""
        for name in self._directors:
            try:
                said = self._stage.says(name)
            except LabError as error:
                said = str(error)
            self._say(f"what {name} says:\n{indent(said.strip(), '    ')}")

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self._prober.check()
        self._capture.check()

    def _report(self, phase: Phase) -> Report:
        return self.record.report(
            phase,
            [
                bool(one.real) and len(self.record.flow(one.port)) == 1
                for one in self._made.get(phase, ())
            ],
        )
