# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `demo`: parse, call, print."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from deploy.demonstration import scenario, table
from deploy.demonstration.janitor import Janitor
from deploy.demonstration.record import Report
from deploy.demonstration.scenario import BLOCKS, GRACE_SECONDS, RATE, Scenario
from deploy.lab import configuration, kernels, topology
from deploy.lab.cache import LabError
from deploy.lab.laboratory import Laboratory, Setup

LAB = "saru-demo"
FAILED, USAGE = 1, 2
FEWEST = 3
"""With one director lost, the others must still be more than half."""


class Progress:
    """Lines of progress on standard error, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        click.echo(f"[{time.monotonic() - self._start:5.1f} s] {text}", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE", help="Write the figures there, for programs.",
)  # fmt: skip
@click.option(
    "--directors", type=click.IntRange(FEWEST, len(topology.DIRECTORS)), default=3,
    show_default=True, help="How many.",
)  # fmt: skip
@click.option(
    "--kernel", type=click.Choice(kernels.VERSIONS), default=kernels.VERSIONS[0],
    show_default=True, help="Which of Debian's kernels the directors boot.",
)  # fmt: skip
@click.option(
    "--without-mask", is_flag=True,
    help="Let the directors show their shared MAC: the switch learns it, and this must fail.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the lab up at the end.")
def demo(
    json_file: Path | None, directors: int, kernel: str, without_mask: bool, keep: bool
) -> None:
    """Let several directors share one VIP, lose and regain one in three ways, and count for
    every probe of every block how many directors accepted it.

    Exit status: 0 if each probe was accepted exactly once, but for the moments after a fault,
    and none ever twice; 1 if not; 2 for a wrong command line.
    """
    if os.geteuid():
        raise LabError("the lab makes network namespaces and needs root: use sudo")
    say = Progress()
    setup = Setup(
        topology.DIRECTORS[:directors], kernel, "heartbeat", "hub" if without_mask else "unicast"
    )
    with open(f"/run/{LAB}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another demonstration is running on this machine") from None
        release = prepare(kernel, say)
        reports, trouble = run(setup, keep, say)
    passed = not trouble and all(report.passed() for report in reports)
    show(reports, setup.directors)
    if json_file is not None:
        found = {"passed": passed, **figures(reports, release, directors)}
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    if trouble:
        raise LabError(trouble)
    sys.exit(0 if passed else FAILED)


def prepare(kernel: str, say: Progress) -> str:
    """Fetch and build what the cache lacks; the kernel's release."""
    say(f"kernel {kernel}: fetched if it is not in the cache yet")
    fetched = kernels.fetch(kernel)
    say(f"kernel {fetched.release}: the module and the iptables extension, built if they changed")
    kernels.build_module(fetched)
    kernels.build_extension()
    return fetched.release


def run(setup: Setup, keep: bool, say: Progress) -> tuple[list[Report], str]:
    """Bring the lab up, play, and take it down again, whatever happens.

    The reports, and why the play broke off, if it did.
    """
    laboratory = Laboratory(LAB)
    if laboratory.directory.exists():
        say("a lab is left of an earlier demonstration: takes it down")
        laboratory.down()
    with Janitor(LAB) as janitor:
        laboratory.up(setup, say)
        scene = Scenario(laboratory, say)
        reports = scene.play()
        if keep:
            janitor.keep()
            say(f"the lab stays up: deploy/lab/lab --lab {LAB} status; down ends it")
        else:
            say("takes the lab down")
    return reports, scene.trouble


def show(reports: Sequence[Report], directors: Sequence[str]) -> None:
    """Print the table, and what it comes to."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print()
    console.print(table.table(reports, directors))
    console.print()
    console.print(table.LEGEND)
    console.print()
    console.print(table.conclusion(reports), soft_wrap=True)


def figures(reports: Sequence[Report], release: str, directors: int) -> dict[str, object]:
    """What --json writes."""
    return {
        "kernel": release,
        "directors": directors,
        "blocks": BLOCKS,
        "probes_per_second": RATE,
        "deadtime_ms": configuration.GUESTS.deadtime,
        "settled_after_ms": round(
            1000 * (scenario.TAKEOVER * configuration.GUESTS.deadtime / 1000 + GRACE_SECONDS)
        ),
        "phases": [asdict(report) for report in reports],
    }


def main() -> None:
    """Run, and turn errors into one line each."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        demo(prog_name="demo")
    except LabError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
