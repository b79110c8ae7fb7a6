# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: it succeeds, fails without the mask, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import configuration, kernels
from deploy.lab.cache import PROJECT

DEMO = "deploy/demo"
LAB = "saru-demo"
BLOCKS = 1024
PATIENCE = 1500.0
"""Seconds that anything here may take on a busy host."""
FAULTS = ("loses power", "daemon stopped", "cut off from the others")
RETURNS = ("boots and returns", "daemon goes on", "cables mended")


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [DEMO, *options],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def play(file: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Run it to its end: its status, what it said, and its figures."""
    process = start("--json", str(file), *options)
    said, progress = process.communicate(timeout=PATIENCE)
    assert file.exists(), progress + said
    figures: dict[str, Any] = json.loads(file.read_text())
    return process.returncode, progress + said, figures


def leftovers() -> list[str]:
    """Namespaces, files and processes of the demonstration's lab."""
    found = [str(path) for path in Path("/run/netns").glob(f"{LAB}*")]
    found += [str(path) for path in Path("/run").glob(LAB)]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"/run/{LAB}/".encode() in text:
            found.append(str(path))
    return found


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.2)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does to it, the lab goes down."""
    yield
    wait_until(lambda: not leftovers(), "the lab did not go down")


def test_every_probe_is_accepted_exactly_once(tmp_path: Path) -> None:
    status, said, figures = play(tmp_path / "demo.json")
    phases = figures["phases"]
    assert status == 0, said
    assert figures["passed"] is True
    assert figures["kernel"] == kernels.fetch("6.1").release
    assert (figures["directors"], figures["blocks"]) == (3, BLOCKS)

    for phase in phases:
        counted = [phase[f"accepted_{times}"] for times in ("once", "never", "twice")]
        assert sum(counted) == phase["probes"]
        assert phase["accepted_twice"] == 0, phase
        if phase["settled"]:
            assert phase["accepted_once"] == phase["probes"] >= 2 * BLOCKS, phase
            assert phase["blocks_probed"] == BLOCKS
            families = phase["families"]
            assert set(families) == {"ipv4", "ipv6"}
            assert all(family["accepted_once"] >= BLOCKS for family in families.values())
            assert sum(phase["per_director"].values()) == phase["probes"]
            assert phase["connections_answered"] == phase["connections"] > 0
    assert sum(phase["connections"] for phase in phases) >= 300
    check_faults(phases, said)


def check_faults(phases: list[dict[str, Any]], said: str) -> None:
    """Each fault was one, each return was one, and settled phases stand between them."""
    names = [phase["name"] for phase in phases if not phase["settled"]]
    for expected in (*FAULTS, *RETURNS):
        assert any(expected in name for name in names), names
    deadtime = configuration.GUESTS.deadtime
    for before, phase, after in zip(phases, phases[1:], phases[2:], strict=False):
        if phase["settled"]:
            continue
        assert before["settled"], said
        assert after["settled"], said
        if any(fault in phase["name"] for fault in FAULTS):
            victim = phase["name"].split(",")[0]
            assert before["per_director"][victim] > 0
            assert after["per_director"][victim] == 0
            assert phase["accepted_never"] > 0, "a fault that nobody noticed is none"
            assert phase["takeover_ms"] <= 1.03 * deadtime + 1500
        else:
            assert min(after["per_director"].values()) >= 0.3 * after["probes"]


def test_without_the_mask_it_fails(tmp_path: Path) -> None:
    status, said, figures = play(tmp_path / "demo.json", "--without-mask")
    assert status == 1
    assert figures["passed"] is False
    settled = [phase for phase in figures["phases"] if phase["settled"]]
    assert settled
    # The switch has learnt the shared MAC: one director gets everything, the others nothing.
    assert settled[0]["accepted_never"] > settled[0]["probes"] / 3
    assert "WRONG" in said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_before_time_leaves_nothing(how: signal.Signals) -> None:
    process = start()
    wait_until(lambda: bool(leftovers()), "the lab never came up")
    assert process.stderr is not None
    while "boots" not in process.stderr.readline():
        pass
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0


def test_two_at_a_time_are_refused() -> None:
    first = start()
    assert first.stderr is not None
    while "boots" not in first.stderr.readline():
        pass
    second = start()
    assert "another demonstration is running" in second.communicate(timeout=PATIENCE)[1]
    assert second.returncode == 1
    first.terminate()
    first.communicate(timeout=PATIENCE)


def test_a_wrong_command_line_is_2() -> None:
    process = start("--directors", "2")
    assert "--directors" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2
