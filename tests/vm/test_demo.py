# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: it succeeds, and leaves nothing behind.

That it fails without the mask is seen in the namespaces' one, on the same switches.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import kernels
from tests.demonstration import (
    PATIENCE,
    check,
    leftovers,
    play_right,
    start,
    wait_until,
)

DEMO = "deploy/demo"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does to it, the lab goes down."""
    yield
    wait_until(lambda: not leftovers(), "the lab did not go down")


@pytest.mark.alone
def test_every_probe_is_accepted_exactly_once(tmp_path: Path) -> None:
    said, figures = play_right(tmp_path / "demo.json", DEMO)
    assert figures["kernel"] == kernels.fetch("6.1").release
    assert figures["dataplane"] == "module"
    check(figures, said)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_before_time_leaves_nothing(how: signal.Signals) -> None:
    process = start(DEMO)
    wait_until(lambda: bool(leftovers()), "the lab never came up")
    assert process.stderr is not None
    while "boots" not in process.stderr.readline():
        pass
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0


def test_two_at_a_time_are_refused() -> None:
    first = start(DEMO)
    assert first.stderr is not None
    while "boots" not in first.stderr.readline():
        pass
    second = start(DEMO)
    assert "another demonstration is running" in second.communicate(timeout=PATIENCE)[1]
    assert second.returncode == 1
    first.terminate()
    first.communicate(timeout=PATIENCE)


def test_a_wrong_command_line_is_2() -> None:
    process = start(DEMO, "--directors", "2")
    assert "--directors" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2
