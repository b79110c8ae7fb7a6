# SPDX-License-Identifier: GPL-2.0-or-later
"""The lease of earlier settings: kept until its vouches have run out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from saru.core.invariants import InvariantError
from saru.errors import SaruError
from saru.state import earlier_lease
from tests.unit.cores import DEADTIME, INITDEAD, Link

SECOND = 1_000_000_000


def test_the_longest_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert earlier_lease.remember(state, "saru", 10 * SECOND) == 10 * SECOND
    assert earlier_lease.remember(state, "saru", SECOND) == 10 * SECOND
    assert earlier_lease.remember(state, "saru", SECOND) == 10 * SECOND  # it crashed in its wait
    earlier_lease.forget(state, "saru", SECOND)
    assert earlier_lease.remember(state, "saru", SECOND) == SECOND
    assert earlier_lease.remember(state, "other", 1) == 1


@pytest.mark.parametrize("content", [b"", b"soon\n", b"-1\n", b"1" * 40])
def test_a_damaged_file_is_an_error_that_names_the_mend(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saru.lease").write_bytes(content)
    with pytest.raises(SaruError, match=r"saru\.lease is damaged: .* remove the file"):
        earlier_lease.remember(tmp_path, "saru", SECOND)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    with pytest.raises(SaruError, match="cannot keep the lease in"):
        earlier_lease.remember(tmp_path / "state", "saru", SECOND)


def shortened(earlier: int) -> Link:
    """Three directors of a long deadtime; two crash and come back with a short one.

    Those two are not in contact with the third, whose settings differ.
    """
    link = Link("abc")
    short = link.settings
    link.settings = msgspec.structs.replace(short, deadtime=10 * DEADTIME, initdead=21 * DEADTIME)
    for host in link.hosts.values():
        host.start()
    link.run(30 * DEADTIME)
    assert link.hosts["c"].accepts()
    link.settings = msgspec.structs.replace(short, earlier_lease=earlier)
    for name in ("a", "b"):
        link.hosts[name].crash()
        link.hosts[name].start()
    return link


def test_a_shorter_deadtime_does_not_outrun_the_leases_of_the_longer_one() -> None:
    link = shortened(10 * DEADTIME)
    link.run(3 * INITDEAD)
    assert link.hosts["c"].accepts()
    assert not link.hosts["a"].accepts()
    link.run(12 * DEADTIME)
    assert link.hosts["a"].accepts().bit_count() + link.hosts["b"].accepts().bit_count() == 16


def test_without_that_memory_it_does() -> None:
    link = shortened(0)
    with pytest.raises(InvariantError):
        link.run(3 * INITDEAD)
