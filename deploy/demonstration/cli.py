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
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console

from deploy.demonstration import table
from deploy.demonstration.guests import Guests
from deploy.demonstration.janitor import Janitor
from deploy.demonstration.namespaces import Namespaces
from deploy.demonstration.record import Report
from deploy.demonstration.scenario import BLOCKS, Scenario, settled_after
from deploy.demonstration.stage import Stage
from deploy.lab import kernels, topology
from deploy.lab.cache import LabError

FAILED, USAGE = 1, 2
STORIES = 10
"""Of the probes of a phase that two accepted, so many are told of."""
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
    "--namespaces", is_flag=True,
    help="Directors are network namespaces of this host, not virtual machines: done in seconds.",
)  # fmt: skip
@click.option(
    "--directors", type=click.IntRange(FEWEST, len(topology.DIRECTORS)), default=3,
    show_default=True, help="How many.",
)  # fmt: skip
@click.option(
    "--membership", type=click.Choice(topology.MEMBERSHIPS), default="heartbeat",
    show_default=True, help="How the directors know of each other; zookeeper: by three servers.",
)  # fmt: skip
@click.option(
    "--kernel", type=click.Choice(kernels.VERSIONS), show_default=kernels.VERSIONS[0],
    help="Which of Debian's kernels the directors boot; with --namespaces they have this host's.",
)  # fmt: skip
@click.option(
    "--without-mask", is_flag=True,
    help="Let the directors show their shared MAC: the switch learns it, and this must fail.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the lab up at the end.")
def demo(
    json_file: Path | None,
    namespaces: bool,
    directors: int,
    membership: str,
    kernel: str | None,
    without_mask: bool,
    keep: bool,
) -> None:
    """Let several directors share one VIP, lose and regain one in three ways, and count for
    every probe of every block how many directors accepted it.

    Exit status: 0 if each probe was accepted exactly once, but for the moments after a fault,
    and none ever twice; 1 if not; 2 for a wrong command line.
    """
    if namespaces and kernel:
        raise click.UsageError("--kernel is for virtual machines: leave out it, or --namespaces")
    if os.geteuid():
        raise LabError("the lab makes network namespaces and needs root: use sudo")
    say = Progress()
    link_mode = "hub" if without_mask else "unicast"
    stage: Stage = (
        Namespaces(directors, link_mode, membership)
        if namespaces
        else Guests(directors, kernel or kernels.VERSIONS[0], link_mode, membership)
    )
    with open(f"/run/{stage.lab}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another demonstration is running on this machine") from None
        release = stage.prepare(say)
        played = run(stage, keep, say)
    passed = not played.trouble and all(report.passed() for report in played.reports)
    show(played.reports, stage)
    if json_file is not None:
        found = {"passed": passed, "membership": membership, **figures(stage, release, played)}
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    if played.trouble:
        raise LabError(played.trouble)
    sys.exit(0 if passed else FAILED)


@dataclass(frozen=True)
class Played:
    """How it went."""

    reports: list[Report]
    trouble: str
    """Why it broke off; empty if it did not."""
    dataplane: str


def run(stage: Stage, keep: bool, say: Progress) -> Played:
    """Bring the lab up, play, and take it down again, whatever happens."""
    if stage.introduction:
        click.echo(f"\n{stage.introduction}\n", err=True)
    with Janitor(stage.lab) as janitor:
        dataplane = stage.up(say)
        scene = Scenario(stage, say)
        reports = scene.play()
        if keep:
            janitor.keep()
            say(f"the lab stays up: {stage.keepsake}")
            say(f"deploy/lab/lab --lab {stage.lab} down ends it")
        else:
            say("takes the lab down")
    return Played(reports, scene.trouble, dataplane)


def show(reports: Sequence[Report], stage: Stage) -> None:
    """Print the table, and what it comes to."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print()
    console.print(table.table(reports, stage.directors))
    console.print()
    console.print(table.legend(stage.seen))
    console.print()
    console.print(table.conclusion(reports), soft_wrap=True)
    for report in reports:
        for story in report.twice[:STORIES]:
            console.print(f"{report.name}: {story}", soft_wrap=True)


def figures(stage: Stage, release: str, played: Played) -> dict[str, object]:
    """What --json writes."""
    return {
        "kernel": release,
        "dataplane": played.dataplane,
        "directors": len(stage.directors),
        "blocks": BLOCKS,
        "probes_per_second": stage.pace.rate,
        "deadtime_ms": round(1000 * stage.pace.deadtime),
        "settled_after_ms": round(1000 * settled_after(stage.pace)),
        "phases": [asdict(report) for report in played.reports],
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
