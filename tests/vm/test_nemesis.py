# SPDX-License-Identifier: GPL-2.0-or-later
"""Directors with kernels of their own, under random faults: never two, and soon one.

What namespaces cannot have is here: the module, one of nftables' directors beside it, steps of the
wall clock, IPVS, and a power cut that takes a whole kernel.

    tests/run tests/vm/test_nemesis.py --nemesis-guests 3600
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from deploy.demonstration.capture import Capture
from deploy.demonstration.prober import Prober
from deploy.demonstration.probing import TARGETS
from deploy.demonstration.probing import probing as together
from deploy.demonstration.stage import Tap
from deploy.lab import configuration, kernels, topology
from deploy.lab.cache import LabError
from deploy.lab.laboratory import LOG, START_DAEMON, Laboratory, Setup
from deploy.lab.node import wait_until
from tests import storm
from tests.bench.stalls import Stalls
from tests.net.relay import Relay
from tests.storm import Fault
from tests.vm.queued import QueuedLedger

BLOCKS = 1024
RATE = 500
"""Probes a second: three emulated guests see every one of them."""
QUEUE = 32
"""Frames that wait for a guest's card where the probes come in. Of a guest that is seconds behind,
as with a queue of the usual length, little could be told."""
DAEMON = "-m [s]aru --debug"  # unlike the command line of the shell that looks for it
STEP = 3600
"""Seconds, at most, that a wall clock is set forward or back."""
LATE = 0.5
"""Seconds."""
DRAIN_SECONDS = 1.0
"""What an answer may need."""
BEATS_ALONE = "eth2"
"""The card that carries nothing else; beats have another road."""
DIRECTORS = topology.DIRECTORS[:3]
NFTABLES = DIRECTORS[2:]
"""Those without the module: the wall clock bounds their leases, too."""
TIMES = configuration.GUESTS
ALLOWED, BUSY = 12.0, 24.0
"""Seconds beyond a bound. Three guests, emulated where there is no KVM, share the processors with
each other and with what else is being tested; what they are late by adds up."""


class Faults:
    """What can happen to the lab's directors."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab

    def kinds(self) -> list[storm.Kind]:
        """All of them."""
        return [
            self._frozen, self._killed, self._powerless, self._stepped, self._down, self._hogged,
            self._parted, self._lossy, self._late,
        ]  # fmt: skip

    def _run(self, name: str, command: str) -> None:
        guest = self._lab.guest(name)
        try:
            guest.run(["sh", "-c", command], timeout=storm.PATIENCE)
        finally:
            guest.close()

    def _in(self, name: str, command: str) -> Callable[[], None]:
        return lambda: self._run(name, command)

    def _frozen(self, chance: random.Random) -> Fault:
        name = chance.choice(DIRECTORS)
        stop, go = (f"pkill -{signal} -f -- '{DAEMON}'" for signal in ("STOP", "CONT"))

        def thaw() -> None:
            self._run(name, go)
            if name in NFTABLES:
                # A lease that it had worked out before the pause, and its clock set back while
                # that lasts, would be one for longer: saru/dataplane/README.md says so.
                time.sleep(TIMES.deadtime / 1000)

        return Fault(f"{name}'s daemon frozen", (name,), self._in(name, stop), thaw)

    def _killed(self, chance: random.Random) -> Fault:
        name = chance.choice(DIRECTORS)
        kill = f"pkill -KILL -f -- '{DAEMON}'"
        return Fault(
            f"{name}'s daemon killed", (name,), self._in(name, kill), self._in(name, START_DAEMON)
        )

    def _powerless(self, chance: random.Random) -> Fault:
        name = chance.choice(DIRECTORS)
        return Fault(
            f"{name} without power",
            (name,),
            lambda: self._lab.kill(name),
            lambda: self._lab.boot(name, lambda _: None),
        )

    def _stepped(self, chance: random.Random) -> Fault:
        name, step = chance.choice(DIRECTORS), chance.randint(-STEP, STEP)
        there, back = (f"date -s @$(($(date +%s) + {by}))" for by in (step, -step))
        return Fault(
            f"{name}'s wall clock {step:+} s", (name,), self._in(name, there), self._in(name, back)
        )

    def _down(self, chance: random.Random) -> Fault:
        name = chance.choice(DIRECTORS)
        down, up = (f"ip link set {BEATS_ALONE} {state}" for state in ("down", "up"))
        return Fault(
            f"{name}'s {BEATS_ALONE} down", (name,), self._in(name, down), self._in(name, up)
        )

    def _hogged(self, chance: random.Random) -> Fault:
        name = chance.choice(DIRECTORS)
        begin = "setsid sh -c 'while :; do :; done # hog' </dev/null >/dev/null 2>&1 &"
        return Fault(
            f"{name}'s processor hogged",
            (name,),
            self._in(name, begin),
            self._in(name, "pkill -KILL -f '[#] hog'"),
            hogs=True,
        )

    def _parted(self, chance: random.Random) -> Fault:
        alone = chance.choice(DIRECTORS)
        rest = [name for name in DIRECTORS if name != alone]
        return Fault(
            f"{alone} cut off from the others",
            (),
            lambda: self._lab.cut([[alone], rest]),
            self._lab.heal,
            wires=True,
        )

    def _lossy(self, chance: random.Random) -> Fault:
        percent = chance.choice((30, 100))
        pairs = [(a, b) for a in DIRECTORS for b in DIRECTORS if a != b]
        some = pairs if percent < 100 else chance.sample(pairs, chance.randint(1, 3))
        text = ", ".join(f"{a} to {b}" for a, b in some)
        return Fault(
            f"{percent} % of the beats lost, {text}",
            (),
            lambda: self._lab.network.lose(dict.fromkeys(some, percent)),
            self._lab.heal,
            wires=True,
        )

    def _late(self, chance: random.Random) -> Fault:
        pairs = {a: tuple(b for b in DIRECTORS if a != b) for a in DIRECTORS}
        seed = chance.randrange(2**32)
        relays: list[Relay] = []

        def begin() -> None:
            self._lab.network.lose({(a, b): 100 for a, some in pairs.items() for b in some})
            relays.append(Relay(self._lab.name, pairs, LATE, 0.2, seed))
            relays[0].start()

        def end() -> None:
            relays.pop().stop()
            self._lab.heal()

        return Fault(f"all beats up to {LATE} s late", (), begin, end, wires=True)


def probing(lab: Laboratory, ledger: QueuedLedger) -> AbstractContextManager[None]:
    """Probe every block without a pause; who forwards is seen on the wire to the real servers."""
    capture = Capture(ledger, lab.name, Tap(bridge=topology.SERVER_SEGMENT), TARGETS)
    client = lab.network.namespace(topology.CLIENT)
    return together(capture, Prober(ledger, client, TARGETS, BLOCKS, RATE), DRAIN_SECONDS)


def logs(lab: Laboratory) -> Iterator[str]:
    """What each director's log ends with, where it can be asked."""
    for name in DIRECTORS:
        with contextlib.suppress(LabError, OSError):
            guest = lab.guest(name)
            yield f"{name}: {guest.run(['tail', '-n', '60', LOG]).stdout}"
            guest.close()


def test_never_two(request: pytest.FixtureRequest, figures: Callable[[str], None]) -> None:
    seed = storm.seed(request.config)
    lab = Laboratory(f"saru-nemesis-{secrets.token_hex(3)}")
    macs = {topology.director(name).mac(1): name for name in DIRECTORS}
    ledger = QueuedLedger(macs, prefix=f"storm {secrets.token_hex(4)} ")
    setup = Setup(DIRECTORS, kernels.VERSIONS[0], "heartbeat", "unicast", nftables=NFTABLES)
    keepalive, deadtime = TIMES.keepalive / 1000, TIMES.deadtime / 1000
    stalls = Stalls()
    try:
        lab.up(setup, print)
        for name in DIRECTORS:
            lab.network.limit_queue(topology.director(name).legs()[0].port, QUEUE)
        rounds = storm.Storm(
            kinds=Faults(lab).kinds(),
            deadtime=deadtime,
            ledger=ledger,
            blocks=BLOCKS,
            settled=lambda: None,
            chance=random.Random(seed),
            directors=DIRECTORS,
            limits=storm.Limits(
                whole=storm.bound(keepalive, deadtime, TIMES.initdead / 1000),
                outage=storm.outage(keepalive, deadtime),
                period=BLOCKS / RATE,
                allowed=ALLOWED,
                busy=BUSY,
            ),
            stood_still=stalls.worst,
        )
        with stalls, probing(lab, ledger):
            rounds.rage(float(request.config.getoption("--nemesis-guests")))
            raged = time.monotonic_ns()
            wait_until(
                "it is known what became of the late copies' blocks",
                lambda: not ledger.undecided(raged),
                storm.PATIENCE,
            )
        rounds.check()
    except BaseException:
        print(*logs(lab), sep="\n")
        raise
    finally:
        lab.down()
    late = [f"late, when the block had moved: {story}" for story in ledger.late()]
    open_ = ledger.undecided()  # those of the last moments: no later probe was sent
    figures(
        "\n".join(
            (rounds.summary(), f"{len(late)} late copies, {len(open_)} more at the end", *late)
        )
    )
