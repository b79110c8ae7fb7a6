# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens in the demonstration, in order, while every block is probed without a pause."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Connection, Connections, Prober
from deploy.demonstration.record import Phase, Record, Report
from deploy.lab import configuration, topology
from deploy.lab.cache import LabError
from deploy.lab.laboratory import Laboratory

BLOCKS = 1024
RATE = 500
"""Probes a second. Three emulated guests on two cores see every one of them three times."""
ROUNDS = 2
"""How often a settled phase probes every block, at least."""
CONNECTIONS = 100
"""TCP connections in a settled phase."""
CONNECTIONS_SECONDS = 15.0
"""What they may take; those not made by then are not waited for."""
TAKEOVER = 1.03
"""A settled phase begins this many times the deadtime after a fault..."""
GRACE_SECONDS = 1.5
"""...and this much later."""
DRAIN_SECONDS = 0.5
"""A settled phase ends this long before the next fault: a director that loses power takes with it
the packets that it has received and not looked at."""
STEADY_SECONDS = 120.0
"""How long a return may take, a guest's boot among it."""
DAEMON = "-m saru --debug"
ASK_STATUS = """
import socket
daemon = socket.socket(socket.AF_UNIX)
daemon.connect("/run/saru/saru.sock")
daemon.sendall(b'{"ask": "status"}\\n')
while answer := daemon.recv(65536).decode():
    print(end=answer)
"""
"""What `saru status --json` does, without the libraries: an emulated guest has better things to do
than to read them while it is probed."""

Say = Callable[[str], None]


class Scenario:
    """The faults, and the phases between them. `laboratory` is up already."""

    def __init__(self, laboratory: Laboratory, say: Say) -> None:
        self._lab = laboratory
        self._say = say
        self._directors = laboratory.setup().directors
        macs = {topology.director(name).mac(1): name for name in self._directors}
        self.record = Record(macs, prefix=f"probe {secrets.token_hex(4)} ")
        client = laboratory.network.namespace(topology.CLIENT)
        target = (topology.VIP, topology.PORT)
        self._capture = Capture(self.record, laboratory.name, topology.SERVER_SEGMENT, target)
        self._prober = Prober(self.record, client, target, BLOCKS, RATE)
        self._connections = Connections(client, target, BLOCKS)
        self._made: dict[Phase, list[Connection]] = {}
        self._phases: list[Phase] = []
        self._begin = 0
        self.trouble = ""
        """Why the scenario was not played to its end; empty if it was."""

    def play(self) -> list[Report]:
        """Let it all happen; a report for each phase that was, in order."""
        with self._probing():
            self._begin = time.monotonic_ns()
            try:
                self._play()
            except LabError as error:
                self.trouble = str(error)
                self._end_phase("broken off", settled=False)
            time.sleep(DRAIN_SECONDS)
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
        self._fault(f"{master}, the master, loses power", lambda: self._lab.kill(master))
        self._settled(f"without {master}")
        self._return(f"{master} boots and returns", lambda: self._lab.boot(master, self._say))

        second = self._settled(f"{master} is back", other)
        self._fault(f"{second}, the master, its daemon stopped", lambda: self._stop(second))
        self._settled(f"without {second}'s daemon")
        self._return(f"{second}'s daemon goes on", lambda: self._go_on(second))

        third = self._settled(f"{second} is back", master)
        rest = [name for name in self._directors if name != third]
        self._fault(
            f"{third}, the master, cut off from the others", lambda: self._lab.cut([[third], rest])
        )
        self._settled(f"{third} cut off from the others")
        self._return(f"{third}'s cables mended", self._lab.heal)
        self._settled(f"{third} is back")

    @contextmanager
    def _probing(self) -> Iterator[None]:
        self._capture.open()
        self._prober.start()
        try:
            yield
        finally:
            try:
                self._prober.stop()
                time.sleep(DRAIN_SECONDS)
            finally:
                self._capture.stop()

    def _settled(self, name: str, asked: str | None = None) -> str:
        """A phase in which every probe must be accepted exactly once.

        Who is master at its end, as the daemon of `asked` says.
        """
        self._say(f"{name}: every block probed {ROUNDS} times or more, {CONNECTIONS} connections")
        first = len(self.record)
        enough = time.monotonic() + CONNECTIONS_SECONDS
        made = self._connections.make(CONNECTIONS, lambda: time.monotonic() > enough)
        while len(self.record) < first + ROUNDS * BLOCKS:
            self._sleep(0.05)
        master = self._master(asked) if asked else ""
        phase = self._end_phase(name, settled=True)
        self._made[phase] = made
        return master

    def _fault(self, name: str, strike: Callable[[], object]) -> None:
        """Something breaks; until the next phase begins, some blocks may go unanswered."""
        self._sleep(DRAIN_SECONDS)
        self._say(name)
        fault = time.monotonic_ns()
        strike()
        # On a busy host it takes a while until a guest has done what it is told.
        settled = time.monotonic() + TAKEOVER * configuration.GUESTS.deadtime / 1000 + GRACE_SECONDS
        while time.monotonic() < settled:
            self._sleep(0.01)
        self._end_phase(name, settled=False, fault=fault)

    def _return(self, name: str, mend: Callable[[], object]) -> None:
        """Somebody comes back; the phase lasts until he holds his share."""
        self._sleep(DRAIN_SECONDS)
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
        window = int(1.3e9 * BLOCKS / RATE)
        limit = time.monotonic() + STEADY_SECONDS
        while True:
            self._sleep(0.25)
            end = time.monotonic_ns() - int(DRAIN_SECONDS * 1e9)
            why = self.record.steady(max(since, end - window), end, BLOCKS, self._directors)
            if not why:
                return True
            if time.monotonic() > limit:
                self._say(f"not settled after {STEADY_SECONDS:.0f} seconds: {why}")
                return False

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self._prober.check()
        self._capture.check()

    def _master(self, asked: str) -> str:
        """Who is master, as the daemon of `asked` says."""
        guest = self._lab.guest(asked)
        try:
            said = json.loads(guest.run(["python3", "-I", "-S", "-c", ASK_STATUS]).stdout)
        finally:
            guest.close()
        if not said["answer"]["master"]:
            raise LabError(f"{asked} hears no master: {'; '.join(said['answer']['problems'])}")
        return str(said["answer"]["master"])

    def _stop(self, name: str) -> None:
        """Let a director's daemon do nothing more, without knowing of it."""
        self._signal(name, "STOP")

    def _go_on(self, name: str) -> None:
        self._signal(name, "CONT")

    def _signal(self, name: str, signal: str) -> None:
        """Send a signal to a director's daemon."""
        guest = self._lab.guest(name)
        try:
            guest.run(["pkill", f"-{signal}", "-f", "--", DAEMON])
        finally:
            guest.close()

    def _report(self, phase: Phase) -> Report:
        return self.record.report(
            phase,
            [
                bool(one.real) and len(self.record.flow(one.port)) == 1
                for one in self._made.get(phase, ())
            ],
        )
