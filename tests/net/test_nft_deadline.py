# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's nftables stop accepting at the deadline, whatever happens to daemon and clocks.

Real packets over the loopback. The wall clock of the machine stays as it is: where a test says that
it is set back by S after a deadline was computed, the deadline is computed as if the clock were
ahead by S, which comes to the same for the kernel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saru import nft
from saru.core.blocks import Sense
from saru.core.settings import Division
from saru.core.term import Term, Version
from saru.dataplane import TableState, layout
from saru.dataplane.bounds import Clocks, read
from saru.dataplane.nftables import Nftables
from saru.errors import StaleError
from tests.net.nft_plane import on_a_plane
from tests.net.pushing import REFUSED, table
from tests.prober import ENOUGH, SECOND, Prober, now

PROJECT = Path(__file__).parents[2]
LEASE = 2 * SECOND
"""Long enough for a table to be set, and a probe of it accepted, in a guest on a busy host."""
TICKS_LATE = SECOND // 4
"""A host that stands still for a moment may count its ticks so late."""
VERSION = Version(Term(1, 0, 0), 1)


@pytest.fixture(autouse=True)
def rules() -> None:
    """Probes are accepted by id 1, and by nothing else."""
    matches = layout.judgement(Division(1, 1024, 0), Sense.SRC_PORT, 4)
    nft.run(
        layout.definitions([1])
        + "add chain inet saru probes { type filter hook input priority 0; }\n"
        + f"add rule inet saru probes udp dport 9 {matches} accept\n"
        + "add rule inet saru probes udp dport 9 reject\n"
    )
    # The kernel limits how many errors it tells of.
    Path("/proc/sys/net/ipv4/icmp_ratemask").write_text("0")


@pytest.fixture
def prober() -> Prober:
    return Prober()


def put(serial: int, length: int, clocks: Callable[[], Clocks] = read) -> int:
    """Set the table; its deadline."""
    deadline = now() + length
    on_a_plane(lambda plane: plane.set(table(serial, deadline)), clocks)
    return deadline


def deadline_there() -> int:
    """The deadline that the kernel has."""
    found: list[TableState] = []

    async def ask(plane: Nftables) -> None:
        found.append(await plane.get(1))

    on_a_plane(ask)
    assert found[0].table is not None
    return found[0].table.deadline


@contextmanager
def pushing(what: str, serial: int, length: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to push, and does at the first line that it reads."""
    words = [sys.executable, "-m", "tests.net.pushing", what, str(serial), str(length)]
    with subprocess.Popen(
        words, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def begin(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def stopped(child: subprocess.Popen[str]) -> bool:
    """Whether a process has stopped; waits for it."""
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


def check(prober: Prober, deadline: int, *, accepted: bool = True) -> None:
    """Nothing that was begun after the deadline was accepted, nor anything after a refusal."""
    assert len(prober.seen.refused) >= ENOUGH
    assert prober.seen.accepted_again == 0
    if accepted:
        assert prober.seen.accepted
        assert max(prober.seen.accepted) < deadline
    else:
        assert not prober.seen.accepted


def test_it_ends_by_itself(prober: Prober) -> None:
    deadline = put(1, LEASE)
    prober.past(deadline)
    check(prober, deadline)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_daemon_that_renews_is_stopped_or_killed(prober: Prober, how: signal.Signals) -> None:
    put(1, 60 * SECOND)
    # Long enough for a busy host not to keep the process from renewing in time.
    with pushing("steadily", 1, 2 * SECOND) as child:
        begin(child)
        prober.until(now() + LEASE)
        child.send_signal(how)
        if how == signal.SIGSTOP:
            assert stopped(child)
        else:
            child.wait()
        deadline = deadline_there()
        prober.past(deadline)
        check(prober, deadline)
        if how == signal.SIGSTOP:
            child.send_signal(signal.SIGCONT)
            assert child.wait() == REFUSED
            prober.past(now())
            check(prober, deadline)


@pytest.mark.parametrize("length", [LEASE, 60 * SECOND], ids=["as-late", "later"])
def test_a_renewal_is_paused_until_the_old_deadline_has_passed(prober: Prober, length: int) -> None:
    """Computed in time, handed over too late: the kernel refuses, however good the new deadline."""
    with pushing("renew", 1, length) as child:
        deadline = put(1, LEASE)
        begin(child)
        assert stopped(child), "it came too late to be paused"
        prober.past(deadline)
        child.send_signal(signal.SIGCONT)
        assert child.wait() == REFUSED
        prober.past(now())
        check(prober, deadline)


def test_a_new_version_is_paused_until_its_deadline_has_passed(prober: Prober) -> None:
    with pushing("set", 2, LEASE) as child:
        deadline = put(1, LEASE)
        begin(child)
        assert stopped(child)
        prober.past(now() + LEASE)
        child.send_signal(signal.SIGCONT)
        assert child.wait() == 0
        prober.past(now())
        check(prober, deadline)
        assert deadline_there() > deadline


@pytest.mark.parametrize("by", [SECOND // 10, 3600 * SECOND])
def test_the_wall_clock_is_set_back(prober: Prober, by: int) -> None:
    """The lease's own time ends the table; it begins when the kernel has it."""

    def ahead() -> Clocks:
        clocks = read()
        return clocks._replace(real=clocks.real + by)

    begun = now()
    deadline = put(1, LEASE, ahead)
    # On a busy host the push may be held up, and the kernel's ticks be late: what remains is the
    # smaller of that and the step.
    deadline += min(now() - begun + TICKS_LATE, by)
    prober.past(deadline)
    check(prober, deadline)


def test_the_wall_clock_is_set_forward(prober: Prober) -> None:
    """The table ends early; the next renewal brings it back."""

    def behind() -> Clocks:
        clocks = read()
        return clocks._replace(real=clocks.real - 3600 * SECOND)

    put(1, 60 * SECOND, behind)
    prober.past(now())
    check(prober, 0, accepted=False)
    on_a_plane(lambda plane: plane.renew(1, VERSION, now() + 60 * SECOND))
    prober.probe()
    assert prober.seen.accepted


@pytest.mark.parametrize(
    ("back", "pause"), [(SECOND // 4, 2 * SECOND), (3600 * SECOND, SECOND // 4)]
)
def test_what_remains_is_the_smaller_of_pause_and_step(
    prober: Prober, back: int, pause: int
) -> None:
    """The wall clock is set back while a deadline computed before is still on its way."""
    computed: list[int] = []

    def late() -> Clocks:
        clocks = read()
        if not computed:
            computed.append(clocks.boot)
            prober.until(clocks.boot + pause)
        return clocks._replace(real=clocks.real + back)

    deadline = put(1, LEASE, late)
    paused = now() - computed[0]  # a little more than the pause
    remains = min(back, paused + TICKS_LATE)
    prober.past(deadline + remains)
    assert max(prober.seen.accepted, default=0) < deadline + remains
    assert sum(done > deadline + remains for done in prober.seen.refused) >= ENOUGH


def test_a_renewal_that_the_kernel_took_too_late_is_undone(prober: Prober) -> None:
    """The old deadline passes between the last look at the clock and the kernel's taking it."""
    deadline = now() + LEASE

    def slow() -> Clocks:
        """As if the daemon had been paused: the lease outlives the deadline."""
        clocks = read()
        return Clocks(clocks.real + SECOND, clocks.boot - SECOND)

    on_a_plane(lambda plane: plane.set(table(1, deadline)), slow)

    def paused() -> Clocks:
        clocks = read()
        while now() <= deadline:
            prober.probe()
        return clocks

    async def renew(plane: Nftables) -> None:
        with pytest.raises(StaleError, match="deadline has passed"):
            await plane.renew(1, VERSION, now() + 60 * SECOND)

    on_a_plane(renew, paused)
    refused = len(prober.seen.refused)
    prober.past(now())
    assert len(prober.seen.refused) >= refused + ENOUGH
    assert max(prober.seen.accepted) < now() - SECOND // 1000
    assert deadline_there() == deadline


def test_nothing_revives_a_version_whose_deadline_has_passed(prober: Prober) -> None:
    """Nor does a daemon's restart: what counts is in the kernel."""
    deadline = put(1, SECOND)
    prober.past(deadline)

    async def attempt(plane: Nftables) -> None:
        with pytest.raises(StaleError, match="deadline has passed"):
            await plane.renew(1, VERSION, now() + 60 * SECOND)
        with pytest.raises(StaleError, match="deadline has passed"):
            await plane.set(table(1, now() + 60 * SECOND))
        with pytest.raises(StaleError, match="older than the table's"):
            await plane.set(table(0, now() + 60 * SECOND))

    on_a_plane(attempt)
    prober.past(now())
    check(prober, deadline)
    put(2, 60 * SECOND)
    prober.probe()
    assert prober.seen.accepted[-1] > deadline


def test_a_rule_for_another_division_matches_nothing(prober: Prober) -> None:
    on_a_plane(lambda plane: plane.set(table(1, now() + 60 * SECOND, blocks=2048)))
    prober.past(now())
    check(prober, 0, accepted=False)


def test_a_deleted_table_accepts_nothing(prober: Prober) -> None:
    put(1, 60 * SECOND)
    prober.probe()

    async def delete(plane: Nftables) -> None:
        assert await plane.delete(1)

    on_a_plane(delete)
    gone = now()
    prober.past(now())
    check(prober, gone)
