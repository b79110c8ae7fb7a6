# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a VIP is without an answer after a failure: keepalived (VRRPv3) and Saru, side by side.

Same interval, same three missed messages, same failure at the same offset after the last message
of the director that fails, turn by turn, on networks of one machine. Timed is from the moment the
cable is out until a question from every one of 128 source ports, one in each block, has had
its answer. With `--hogs` nothing fails: while programs hog every core, false takeovers are counted.
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
from tests.bench.outage import Client, Messages
from tests.net.netns import eventually

KINDS = (Keepalived, Saru)
POWER_CUT, CABLE_PULLED = "power cut", "cable pulled"
FAULTS = (POWER_CUT, CABLE_PULLED)
LIMIT = 60.0
"""Seconds after which a port that has no answer counts as lost for good."""

Say = Callable[[str], None]


@dataclass
class Bout:
    """One contender, ready to be hit."""

    made: Contender
    switch: Switch
    client: Client
    times: dict[str, list[float]] = field(default_factory=lambda: {fault: [] for fault in FAULTS})

    def hit(self, fault: str, offset: float) -> None:
        """Let the master fail `offset` seconds after its last message; time it, and mend it."""
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
                os.kill(pid, signal.SIGKILL)
        answered = self._inside(lambda: self.client.until_all_answer(LIMIT))
        self.times[fault].append((answered - began) / 1e6)
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
        client = host.call(lambda: Client(made.vip))
        switch = Switch(made.wires)
        try:
            host.call(lambda: client.until_all_answer(LIMIT))
            yield Bout(made, switch, client)
        finally:
            switch.close()
            host.call(client.close)


def outages(interval: float, runs: int, folder: Path, say: Say) -> dict[str, Any]:
    """Milliseconds of every run: {fault: {contender: [...]}}."""
    with contextlib.ExitStack() as stack:
        bouts = [stack.enter_context(bout(kind, folder, interval)) for kind in KINDS]
        for fault in FAULTS:
            for run in range(runs):
                offset = interval * (run + 0.5) / runs
                for one in bouts:
                    one.hit(fault, offset)
                said = ", ".join(f"{one.made.name} {one.times[fault][-1]:.1f} ms" for one in bouts)
                say(f"{interval:g} s, {fault} {run + 1}/{runs}: {said}")
        return {fault: {one.made.name: one.times[fault] for one in bouts} for fault in FAULTS}


@contextlib.contextmanager
def hogs() -> Iterator[None]:
    """Two busy programs for each core."""
    words = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(words) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def false_takeovers(interval: float, seconds: float, folder: Path, say: Say) -> dict[str, int]:
    """How often each gave somebody up who was there, in so many seconds beside hogs."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(contender(kind, folder / kind.name, interval)) for kind in KINDS
        ]
        before = {one.name: one.takeovers() for one in made}
        with hogs():
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 30.0))
                found = {one.name: one.takeovers() - before[one.name] for one in made}
                say(f"{interval:g} s, hogged, {left:.0f} s to go: {found}")
        return {one.name: one.takeovers() - before[one.name] for one in made}


def summary(times: list[float]) -> dict[str, float]:
    return {"median": statistics.median(times), "worst": max(times), "best": min(times)}


def measure(chosen: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """One entry per interval."""
    found = []
    for interval in chosen.interval:
        with tempfile.TemporaryDirectory(prefix="saru-failover-") as text:
            folder = Path(text)
            if chosen.hogs:
                false = false_takeovers(interval, chosen.hogs, folder, say)
                found.append({"interval": interval, "false_takeovers": false})
                continue
            runs = outages(interval, chosen.runs, folder, say)
            figures = {
                fault: {name: {**summary(times), "times": times} for name, times in by_name.items()}
                for fault, by_name in runs.items()
            }
            found.append({"interval": interval, "faults": figures})
    return found


def show(found: list[dict[str, Any]], hogged: float) -> None:
    """The table, for people."""
    title = (
        f"false takeovers in {hogged:g} s, all cores hogged" if hogged else "ms without an answer"
    )
    table = Table(title=title, title_justify="left", box=None)
    for column in ("interval", "", *(f"{kind.name}" for kind in KINDS), "saru/keepalived"):
        table.add_column(column, justify="right")
    for entry in found:
        interval = f"{entry['interval']:g} s"
        if hogged:
            false = entry["false_takeovers"]
            table.add_row(interval, "", *(str(false[kind.name]) for kind in KINDS), "")
            continue
        for fault, by_name in entry["faults"].items():
            for what in ("median", "worst"):
                figures = [by_name[kind.name][what] for kind in KINDS]
                texts = [f"{figure:.1f}" for figure in figures]
                ratio = f"{figures[1] / figures[0]:.3f}"
                table.add_row(interval, f"{fault}, {what}", *texts, ratio)
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(words)
    chosen.interval = chosen.interval or ([0.1, 0.01] if chosen.hogs else [1.0, 0.1, 0.01])
    found = measure(chosen, lambda text: print(f"failover: {text}", file=sys.stderr, flush=True))
    show(found, chosen.hogs)
    if chosen.json:
        chosen.json.write_text(json.dumps({"unit": "ms", "figures": found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
