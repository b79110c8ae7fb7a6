# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to refuse a false beat, beside the signature that has to be worked out for it.

usage: tests/bench/reject [--rounds N] [--json FILE]

In each round every kind of false datagram is refused a thousand times, and in turn with it the
HMAC-SHA256 of the same bytes is worked out as often. What counts is the ratio of the two CPU times
(the calling thread's own), the median over the rounds: the machine's speed and what else runs on
it take part in both. Reach: at most 2 for every kind.
"""

from __future__ import annotations

import argparse
import hmac
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saru.config.authkeys import Keys
from saru.core.beat import Beat, Heard, Role
from saru.core.settings import Division
from saru.core.term import Session, Term
from saru.wire.codec import DATAGRAM_MAX, Codec

REACH = 2.0
REPEATS = 1000
DIVISIONS = (Division(1, 1024, 0),)
KEYS = Keys(signing=1, secrets={1: b"ultramonkey"})


def beat(voters: int) -> Beat:
    """walter's beat in a cluster of so many voters."""
    heard = tuple(Heard(f"node{n}", Session(n, 3), n**4, True) for n in range(1, voters))
    return Beat(
        node="walter",
        session=Session(1, 2),
        seq=1,
        settings=bytes(range(28)),
        term=Term(5, 1, 3),
        role=Role.FOLLOWER,
        hears=True,
        waited=True,
        joined=True,
        able=True,
        left=False,
        weight=100,
        lease_left=9_000_000_000,
        heard=heard,
        asks=(),
        promises=(),
        reports=(),
        offers=(),
        wants=(),
    )


def kinds(good: bytes) -> dict[str, bytes]:
    """False datagrams, by what is wrong with them; `good` has been accepted before."""
    other = Codec("walter", 1, Keys(1, {1: b"ultragorilla"}), DIVISIONS).encode(beat(3))[0]
    chance = random.Random(1)
    return {
        "replayed": good,
        "forged": good[:-1] + bytes([good[-1] ^ 1]),
        "of another secret": other,
        "truncated": good[:-20],
        "of 64 KiB": good + bytes(DATAGRAM_MAX - len(good)),
        "of a key not held": good[:6] + b"\x09" + good[7:],
        "random": chance.randbytes(len(good)),
    }


def cpu(action: Callable[[bytes], object], datagram: bytes, repeats: int) -> float:
    """CPU time of one call, in us."""
    begin = time.thread_time()
    for _ in range(repeats):
        action(datagram)
    return 1e6 * (time.thread_time() - begin) / repeats


def measure(rounds: int, voters: int) -> dict[str, Any]:
    """Refuse every kind, and work out its signature, in turn."""
    receiver = Codec("wendy", 1, KEYS, DIVISIONS)
    (good,) = Codec("walter", 1, KEYS, DIVISIONS).encode(beat(voters))
    if receiver.decode(good) is None:
        raise SystemExit("the true beat was refused")
    secret = KEYS.secrets[1]
    results = {}
    for name, datagram in kinds(good).items():
        repeats = REPEATS if len(datagram) < 2000 else REPEATS // 20
        signed = datagram[:-32]
        refused, hashed = [], []
        for _ in range(rounds):
            refused.append(cpu(receiver.decode, datagram, repeats))
            hashed.append(cpu(lambda data: hmac.digest(secret, data, "sha256"), signed, repeats))
        ratios = [ours / theirs for ours, theirs in zip(refused, hashed, strict=True)]
        results[name] = {
            "bytes": len(datagram),
            "refuse_us": statistics.median(refused),
            "hmac_us": statistics.median(hashed),
            "ratio": statistics.median(ratios),
        }
    if receiver.counters["accepted"] != 1:
        raise SystemExit("a false beat was accepted")
    return results


def main() -> None:
    """Measure, print, and write the figures where they are asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="rounds (30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least 1")
    by_voters = {voters: measure(arguments.rounds, voters) for voters in (3, 64)}
    worst = max(kind["ratio"] for kinds in by_voters.values() for kind in kinds.values())
    print(f"{'a false beat':20} {'bytes':>6} {'us':>8} {'HMAC us':>8} {'ratio':>6}")
    for voters, results in by_voters.items():
        print(f"of {voters} voters")
        for name, kind in results.items():
            print(
                f"  {name:18} {kind['bytes']:6} {kind['refuse_us']:8.2f} "
                f"{kind['hmac_us']:8.2f} {kind['ratio']:6.2f}"
            )
    print(f"worst ratio: {worst:.2f}; reach: at most {REACH:g}")
    if arguments.json:
        figures = {
            "benchmark": "reject",
            "rounds": arguments.rounds,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "reach": REACH,
            "worst": worst,
            "voters": by_voters,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
