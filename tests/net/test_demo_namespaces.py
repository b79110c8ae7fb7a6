# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration in network namespaces: as a user types it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demonstration import (
    check,
    check_without_mask,
    leftovers,
    play,
    play_right,
    start,
    wait_until,
)

DEMO = "deploy/demo --namespaces"
pytestmark = pytest.mark.alone  # its directors have 400 ms to miss each other in


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does to it, the lab goes down."""
    yield
    wait_until(lambda: not leftovers(), "the lab did not go down")


def test_every_probe_is_accepted_exactly_once(tmp_path: Path) -> None:
    said, figures = play_right(tmp_path / "demo.json", DEMO)
    assert figures["kernel"] == os.uname().release
    assert figures["dataplane"] == "nftables"
    check(figures, said)
    assert "there is no IPVS" in said  # it says what it is not


def test_by_zookeeper(tmp_path: Path) -> None:
    said, figures = play_right(tmp_path / "demo.json", DEMO, "--membership", "zookeeper")
    assert figures["membership"] == "zookeeper"
    assert "3 ZooKeeper servers" in said
    check(figures, said)


def test_without_the_mask_it_fails(tmp_path: Path) -> None:
    status, said, figures = play(tmp_path / "demo.json", DEMO, "--without-mask")
    check_without_mask(status, said, figures)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_before_time_leaves_nothing(how: signal.Signals) -> None:
    process = start(DEMO)
    assert process.stderr is not None
    while "share the VIP" not in process.stderr.readline():
        assert process.poll() is None, process.communicate()
    assert leftovers()
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0


def test_a_kernel_for_guests_is_refused() -> None:
    process = start(DEMO, "--kernel", "6.1")
    assert "--kernel is for virtual machines" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
