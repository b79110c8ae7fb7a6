# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulations by hand: `python -m tests.sim run --minutes 60`, or `… replay FILE`."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import click

from saru.core.invariants import InvariantError
from saru.core.settings import Quorum
from tests.sim.ensemble import run as ensemble
from tests.sim.plan import plan
from tests.sim.run import play
from tests.sim.scenario import parse
from tests.sim.shrink import shrink

FAILED = 1


@click.group()
def main() -> None:
    """Run the core against random faults, or play a scenario again."""


@main.command()
@click.option("--runs", type=int, help="How many; without it, until --minutes are over.")
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--voters", type=click.IntRange(2, 9), help="Else 3 to 9, by turns.")
@click.option("--quorum", type=click.Choice([q.value for q in Quorum]), default="majority")
@click.option("--first", type=int, default=0, help="The first seed.")
def run(runs: int | None, minutes: float, voters: int | None, quorum: str, first: int) -> None:
    """Random runs; a failure is made short, shown, and ends it."""
    end = time.monotonic() + 60 * minutes
    done, closest = 0, None
    for seed in itertools.count(first):
        if done == runs or (runs is None and time.monotonic() >= end):
            break
        scenario = plan(seed, voters or 3 + seed % 7, Quorum(quorum))
        try:
            world = play(scenario)
        except InvariantError as error:
            print(error)
            print(f"\n# The same, with no more faults than it takes:\n{shrink(scenario)}")
            sys.exit(FAILED)
        done += 1
        room = world.bound - world.settled
        if closest is None or room < closest[0]:
            closest = room, seed, len(scenario.voters)
    print(f"{done} runs went well, from seed {first}")
    if closest is not None:
        room, seed, number = closest
        print(f"closest to its bound: {room / 1000:.0f} ms, seed {seed} of {number} voters")


@main.command("zookeeper")
@click.option("--runs", type=int, default=1000, show_default=True)
@click.option("--directors", type=click.IntRange(2, 9), default=3, show_default=True)
@click.option("--failsafe", is_flag=True)
@click.option("--first", type=int, default=0, help="The first seed.")
def run_ensemble(runs: int, directors: int, failsafe: bool, first: int) -> None:
    """Random runs around ZooKeeper; the first failure is shown, and ends it."""
    for seed in range(first, first + runs):
        try:
            ensemble.run(seed, directors, failsafe)
        except InvariantError as error:
            print(error)
            sys.exit(FAILED)
    print(f"{runs} runs went well, from seed {first}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--shrink", "short", is_flag=True, help="Leave out what its failure does not need.")
def replay(file: Path, short: bool) -> None:
    """Play the scenario in FILE, and tell what happens in it."""
    try:
        text = file.read_text()
        if ensemble.is_one(text):
            told = ensemble.replay(text)
        else:
            scenario = parse(text)
            world = play(shrink(scenario) if short else scenario)
            told = [scenario.head(), *world.story]
    except ValueError as error:
        raise click.UsageError(f"{file}: {error}") from error
    except InvariantError as error:
        print(error)
        sys.exit(FAILED)
    print("\n".join(told))
    print("# all went well")


if __name__ == "__main__":
    main()
