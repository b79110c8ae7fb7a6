# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays the demonstration as a user does, and judges its figures, whatever its directors are."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.lab.cache import PROJECT
from tests.bench.stalls import Stalls

LAB = "saru-demo"
"""How the names of all its labs begin."""
BLOCKS = 1024
PATIENCE = 1500.0
"""Seconds that anything here may take on a busy host."""
TRIES = 3
FAULTS = ("loses power", "daemon stopped", "cut off from the others")
RETURNS = ("boots and returns", "daemon goes on", "cables mended")


def start(command: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command.split(), *options],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def play(file: Path, command: str, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Run it to its end: its status, what it said, and its figures."""
    process = start(command, "--json", str(file), *options)
    said, progress = process.communicate(timeout=PATIENCE)
    assert file.exists(), progress + said
    figures: dict[str, Any] = json.loads(file.read_text())
    return process.returncode, progress + said, figures


def play_right(file: Path, command: str, *options: str) -> tuple[str, dict[str, Any]]:
    """Run it until it succeeds: what it said, and its figures.

    It is run again only if nothing was accepted twice, and the machine itself stood still for a
    good part of the deadtime: directors lapse then, and rightly, and connections are not answered
    in time.
    """
    for _ in range(TRIES):
        with Stalls() as stalls:
            begun = time.monotonic_ns()
            status, said, figures = play(file, command, *options)
            still = stalls.worst(begun, time.monotonic_ns())
        twice = any(phase["accepted_twice"] for phase in figures["phases"])
        if status == 0 or twice or still < figures["deadtime_ms"] / 4000:
            break
        print(f"the machine stood still for {still:.3f} s\n{said}")
    assert status == 0, said
    return said, figures


def leftovers() -> list[str]:
    """Namespaces, files and processes of the demonstration's labs."""
    found = [str(path) for path in Path("/run/netns").glob(f"{LAB}*")]
    found += [str(path) for path in Path("/run").glob(f"{LAB}*") if path.is_dir()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"/run/{LAB}".encode() in text:
            found.append(str(path))
    return found


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def check(figures: dict[str, Any], said: str) -> None:
    """Three directors shared the VIP, rightly, through all faults."""
    phases = figures["phases"]
    assert figures["passed"] is True
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
    _check_faults(phases, said)


def _check_faults(phases: list[dict[str, Any]], said: str) -> None:
    """Each fault was one, each return was one, and settled phases stand between them."""
    names = [phase["name"] for phase in phases if not phase["settled"]]
    for expected in (*FAULTS, *RETURNS):
        assert any(expected in name for name in names), names
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
            assert phase["takeover_ms"] > 0  # in time, or the settled phase is none
        else:
            assert min(after["per_director"].values()) >= 0.3 * after["probes"]


def check_without_mask(status: int, said: str, figures: dict[str, Any]) -> None:
    """The switch has learnt the shared MAC: one director gets everything, the others nothing."""
    assert status == 1
    assert figures["passed"] is False
    settled = [phase for phase in figures["phases"] if phase["settled"]]
    assert settled
    assert settled[0]["accepted_never"] > settled[0]["probes"] / 3
    assert "WRONG" in said
    assert "not settled" in said
    for director in settled[0]["per_director"]:
        assert re.search(rf"what {director} says:\n *cluster: saru\n", said), said
