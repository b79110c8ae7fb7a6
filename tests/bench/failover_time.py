# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a VIP is without an answer after a failure: keepalived (VRRPv3) and Saru, side by side.

Same interval, same three missed messages, same failure at the same offset after the last message
of the director that fails, turn by turn, on networks of one machine. Timed is from the moment the
cable is out until a question from every one of 128 source ports, one in each block, has had
its answer. With `--hogs` nothing fails: while programs hog every core, false takeovers are counted;
with `--clusters` on several networks at once, so that beats of an hour take less than an hour.

What asks and what answers has a real-time priority, so that it is the contenders that are timed.
Runs in which the machine itself stood still for half an interval are counted, told, and made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyroute2 import netns
from rich.console import Console
from rich.table import Table

from tests.bench.contenders import (
    CLIENT,
    Contender,
    Keepalived,
    Saru,
    Switch,
    contender,
    service,
)
from tests.bench.outage import Client, Messages, wait_for_nobody
from tests.bench.stalls import Stalls
from tests.net.netns import eventually

KINDS = (Keepalived, Saru)
POWER_CUT, CABLE_PULLED = "power cut", "cable pulled"
FAULTS = (POWER_CUT, CABLE_PULLED)
OFFSETS = 0.95
"""The failures come in such a part of the interval after the last message, evenly; later the next
message could be out, for Saru's master sends its own a little more often (31/32 of an interval)."""
SETTLE = 0.05
"""Seconds."""
TRIES = 10
"""How often a run is made until the machine does not stand still in it; the last one counts."""
LOOK, TELL = 1.0, 30.0
"""Seconds from one look at false takeovers, and from one line about them, to the next."""
LIMIT = 30.0
"""Seconds after which a port that has no answer counts as lost for good."""

Say = Callable[[str], None]


@dataclass
class Bout:
    """One contender, ready to be hit."""

    made: Contender
    switch: Switch
    client: Client
    times: dict[str, list[float]] = field(default_factory=lambda: {fault: [] for fault in FAULTS})
    disturbed: dict[str, list[float]] = field(
        default_factory=lambda: {fault: [] for fault in FAULTS}
    )

    def run(self, fault: str, interval: float, offset: float, stalls: Stalls) -> None:
        """One run that counts, and those before it in which the machine stood still."""
        for _ in range(TRIES):
            took, began, ended = self.hit(fault, offset)
            time.sleep(SETTLE)  # until a stall that ended just now has been told
            if stalls.worst(began, ended) <= interval / 2:
                break
            self.disturbed[fault].append(took)
        else:
            self.disturbed[fault].pop()
        self.times[fault].append(took)

    def hit(self, fault: str, offset: float) -> tuple[float, int, int]:
        """Let the master fail `offset` seconds after its last message, and mend it.

        Milliseconds until all answered; when its last message was, and when all answered.
        """
        victim = self.made.master()
        messages = self._messages(victim)
        victims = self.made.programs.pids(victim)
        last = messages.next(LIMIT)
        due = last + int(offset * 1e9)
        while (left := due - time.monotonic_ns()) > 0:
            time.sleep(max(0, left - 500_000) / 1e9)  # the last half millisecond awake
        self.switch.pull(victim)
        began = time.monotonic_ns()
        if fault == POWER_CUT:
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):  # it went when its parent did
                    os.kill(pid, signal.SIGKILL)
        answered = self._inside(lambda: self.client.until_all_answer(LIMIT))
        messages.close()
        if fault == POWER_CUT:
            self.made.programs.ended(victim)
            self.made.forget(victim)
        self.switch.plug(victim)
        if fault == POWER_CUT:
            service(self.made, victim)
            self.made.start(victim)
        eventually(f"{self.made.name} has settled again", self.made.settled)
        self._inside(lambda: self.client.until_all_answer(LIMIT))
        return (answered - began) / 1e6, last, answered

    def _inside(self, work: Callable[[], int]) -> int:
        return self.made.wires.hosts[CLIENT].call(work)

    def _messages(self, victim: str) -> Messages:
        netns.pushns(self.made.wires.switch)
        try:
            return Messages(self.switch.port(victim))
        finally:
            netns.popns()


@contextlib.contextmanager
def bout(kind: type[Keepalived] | type[Saru], folder: Path, interval: float) -> Iterator[Bout]:
    """A contender that has settled and answers on every port."""
    with contender(kind, folder / kind.name, interval) as made:
        host = made.wires.hosts[CLIENT]
        host.call(wait_for_nobody)
        client = host.call(lambda: Client(made.vip))
        switch = Switch(made.wires)
        try:
            host.call(lambda: client.until_all_answer(LIMIT))
            yield Bout(made, switch, client)
        finally:
            switch.close()
            host.call(client.close)


def outages(interval: float, runs: int, folder: Path, say: Say) -> dict[str, Any]:
    """What each run took, in ms: {fault: {contender: {"times": [...], "disturbed": [...]}}}."""
    with contextlib.ExitStack() as stack:
        stalls = stack.enter_context(Stalls())
        bouts = [stack.enter_context(bout(kind, folder, interval)) for kind in KINDS]
        wait_for_nobody()
        for fault in FAULTS:
            for run in range(runs):
                offset = OFFSETS * interval * (run + 0.5) / runs
                for one in bouts:
                    one.run(fault, interval, offset, stalls)
                said = ", ".join(f"{one.made.name} {one.times[fault][-1]:.1f} ms" for one in bouts)
                say(f"{interval:g} s, {fault} {run + 1}/{runs}: {said}")
        return {
            fault: {
                one.made.name: {"times": one.times[fault], "disturbed": one.disturbed[fault]}
                for one in bouts
            }
            for fault in FAULTS
        }


@contextlib.contextmanager
def hogs() -> Iterator[None]:
    """A busy program for each core."""
    words = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(words) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


class Tally:
    """False takeovers of some contenders with one interval, apart where the machine stood still."""

    def __init__(self, interval: float, made: list[Contender], stalls: Stalls) -> None:
        self.counted: Counter[str] = Counter()
        self.stalled: Counter[str] = Counter()
        self._interval = interval
        self._made = made
        self._stalls = stalls
        self._before = self._takeovers()
        self._looked = time.monotonic_ns()

    def look(self) -> None:
        """Count what has happened since the last time.

        Whoever was given up then, last beat three intervals before that.
        """
        now, looked = self._takeovers(), time.monotonic_ns()
        since = self._looked - int(4 * self._interval * 1e9)
        stood_still = self._stalls.worst(since, looked) > self._interval
        (self.stalled if stood_still else self.counted).update(now - self._before)
        self._before, self._looked = now, looked

    def _takeovers(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for one in self._made:
            total[one.name] += one.takeovers()
        return total

    def found(self) -> dict[str, Any]:
        """By contender: those that count, and those while the machine stood still."""
        return {
            kind.name: {"counted": self.counted[kind.name], "stalled": self.stalled[kind.name]}
            for kind in KINDS
        }


def false_takeovers(
    interval: float, chosen: argparse.Namespace, folder: Path, say: Say
) -> dict[str, Any]:
    """How often each gave somebody up who was there, in so many seconds beside hogs.

    `stalls` is how often the machine itself stood still for longer than an interval.
    """
    with contextlib.ExitStack() as stack:
        stalls = stack.enter_context(Stalls())
        made = [
            stack.enter_context(contender(kind, folder / f"{kind.name}{number}", interval))
            for number in range(chosen.clusters)
            for kind in KINDS
        ]
        stack.enter_context(hogs())
        tally = Tally(interval, made, stalls)
        began = told = time.monotonic()
        while (left := began + chosen.hogs - time.monotonic()) > 0:
            time.sleep(min(left, LOOK))
            tally.look()
            if time.monotonic() > told + TELL:
                told = time.monotonic()
                say(f"{interval:g} s, hogged, {left:.0f} s to go: {tally.found()}")
        return {**tally.found(), "stalls": stalls.longer_than(interval, int(began * 1e9))}


def summary(runs: dict[str, list[float]]) -> dict[str, Any]:
    """The runs that count, and the worst of all there were."""
    times, disturbed = runs["times"], runs["disturbed"]
    return {
        "median": statistics.median(times),
        "worst": max(times),
        "worst of all": max(times + disturbed),
        "best": min(times),
        **runs,
    }


def measure(chosen: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """One entry per interval."""
    found = []
    with tempfile.TemporaryDirectory(prefix="saru-failover-") as text:
        for interval in chosen.interval:
            folder = Path(text) / f"{interval:g}"
            if chosen.hogs:
                false = false_takeovers(interval, chosen, folder, say)
                found.append({"interval": interval, "false_takeovers": false})
                continue
            figures = {
                fault: {name: summary(runs) for name, runs in by_name.items()}
                for fault, by_name in outages(interval, chosen.runs, folder, say).items()
            }
            found.append({"interval": interval, "faults": figures})
    return found


def show(found: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    """The table, for people."""
    several = f" on each of {chosen.clusters} networks at once" if chosen.clusters > 1 else ""
    title = "ms without an answer; disturbed runs, in which the machine stood still, count in"
    title += ' "worst of all" alone'
    if chosen.hogs:
        title = f"false takeovers in {chosen.hogs:g} s{several}, all cores hogged"
    table = Table(title=title, title_justify="left", box=None)
    last = "machine stood still" if chosen.hogs else "saru/keepalived"
    for column in ("interval", "", *(f"{kind.name}" for kind in KINDS), last):
        table.add_column(column, justify="right")
    for entry in found:
        interval = f"{entry['interval']:g} s"
        if chosen.hogs:
            false = entry["false_takeovers"]
            for what in ("counted", "stalled"):
                counts = [str(false[kind.name][what]) for kind in KINDS]
                times = "" if what == "counted" else f"{false['stalls']} times"
                table.add_row(interval, what, *counts, times)
            continue
        for fault, by_name in entry["faults"].items():
            for what in ("median", "worst", "worst of all"):
                figures = [by_name[kind.name][what] for kind in KINDS]
                texts = [f"{figure:.1f}" for figure in figures]
                ratio = f"{figures[1] / figures[0]:.3f}"
                table.add_row(interval, f"{fault}, {what}", *texts, ratio)
            counts = [str(len(by_name[kind.name]["disturbed"])) for kind in KINDS]
            table.add_row(interval, f"{fault}, disturbed", *counts, "")
    Console().print(table)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="failover", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each failure (20)")
    parser.add_argument(
        "--interval", type=float, action="append", metavar="SECONDS",
        help="between two messages; may be repeated (1, 0.1 and 0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--hogs", type=float, default=0, metavar="SECONDS",
        help="nothing fails: count false takeovers while every core is hogged",
    )  # fmt: skip
    parser.add_argument(
        "--clusters", type=int, default=1, metavar="N",
        help="with --hogs: so many of each contender at once (1)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(words)
    chosen.interval = chosen.interval or ([0.1, 0.01] if chosen.hogs else [1.0, 0.1, 0.01])
    found = measure(chosen, lambda text: print(f"failover: {text}", file=sys.stderr, flush=True))
    show(found, chosen)
    if chosen.json:
        facts = {
            "unit": "ms", "hogged_s": chosen.hogs, "clusters": chosen.clusters,
            "load": os.getloadavg(), "figures": found,
        }  # fmt: skip
        chosen.json.write_text(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
