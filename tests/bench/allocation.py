# SPDX-License-Identifier: GPL-2.0-or-later
"""How long it takes to plan 65,536 blocks over 64 directors.

usage: tests/bench/allocation [--runs N] [--json FILE]

Each case is planned N times, and as often, in turn with it, a peer is timed on the
same interpreter: sorting 65,536 random numbers. The ratio of the shortest times says
more about the plan than either time, which depend on the machine and on what else
it does. Times are those of the calling thread's own CPU use beside wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from saru.core.allocation import plan

BLOCKS = 65536
DIRECTORS = 64
REACH_MS = 50

Weights = Mapping[str, int]


def cases() -> dict[str, Callable[[], dict[str, int]]]:
    """What is timed, by name."""
    chance = random.Random(1)
    equal = {f"director{number:02}": 100 for number in range(DIRECTORS)}
    unequal = {name: chance.randint(1, 1000) for name in equal}
    fewer = {name: weight for name, weight in unequal.items() if name != "director17"}
    changed = unequal | {"director17": 2 * unequal["director17"]}
    full = plan(BLOCKS, {}, unequal, unequal)
    without = plan(BLOCKS, full, fewer, fewer)

    def case(holding: Mapping[str, int], weights: Weights) -> Callable[[], dict[str, int]]:
        return lambda: plan(BLOCKS, holding, weights, weights)

    return {
        "first plan, equal weights": case({}, equal),
        "first plan, unequal weights": case({}, unequal),
        "one director leaves": case(full, fewer),
        "one director joins": case(without, unequal),
        "one weight doubles": case(full, changed),
        "all weights become equal": case(full, equal),
        "nothing changes": case(full, unequal),
    }


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock time and CPU time of one call, in ms."""
    wall, cpu = time.perf_counter(), time.thread_time()
    action()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - cpu)


def measure(runs: int) -> dict[str, Any]:
    """Time every case and its peer `runs` times, in turn."""
    chance = random.Random(2)
    numbers = [chance.getrandbits(32) for _ in range(BLOCKS)]
    results = {}
    for name, action in cases().items():
        action()
        walls, cpus, peers = [], [], []
        for _ in range(runs):
            wall, cpu = timed(action)
            walls.append(wall)
            cpus.append(cpu)
            peers.append(timed(lambda: sorted(numbers))[0])
        results[name] = {
            "wall_ms_min": min(walls),
            "wall_ms_median": statistics.median(walls),
            "cpu_ms_min": min(cpus),
            "peer_ms_min": min(peers),
            "peer_ms_median": statistics.median(peers),
            "ratio_min": min(walls) / min(peers),
        }
    return {
        "benchmark": "allocation",
        "blocks": BLOCKS,
        "directors": DIRECTORS,
        "runs": runs,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "reach_ms": REACH_MS,
        "worst_ms_min": max(result["wall_ms_min"] for result in results.values()),
        "cases": results,
    }


def main() -> None:
    """Measure, print, and write the figures where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of each case (15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: at least 1")
    figures = measure(arguments.runs)
    print(f"{BLOCKS} blocks over {DIRECTORS} directors, {arguments.runs} runs, ms")
    print(f"{'':28} {'min':>7} {'median':>7} {'cpu min':>8} {'sort min':>9} {'ratio':>6}")
    for name, result in figures["cases"].items():
        print(
            f"{name:28} {result['wall_ms_min']:7.1f} {result['wall_ms_median']:7.1f} "
            f"{result['cpu_ms_min']:8.1f} {result['peer_ms_min']:9.1f} {result['ratio_min']:6.2f}"
        )
    print(f"slowest case at its best: {figures['worst_ms_min']:.1f} ms; reach: under {REACH_MS} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
