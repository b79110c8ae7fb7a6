# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmarks run, and write down what they say; what they find is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_what_a_false_beat_costs(tmp_path: Path) -> None:
    words = [sys.executable, str(HERE / "reject"), "--rounds", "3", "--json", str(tmp_path / "f")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["worst"] == max(
        kind["ratio"] for kinds in figures["voters"].values() for kind in kinds.values()
    )
    assert f"worst ratio: {figures['worst']:.2f}; reach: at most 2" in done.stdout


def test_what_a_daemon_costs(tmp_path: Path) -> None:
    words = [str(HERE / "daemon_cost"), "--directors", "3", "--seconds", "1"]
    subprocess.run([sys.executable, *words, "--json", str(tmp_path / "f")], check=True)
    cases = json.loads((tmp_path / "f").read_text())["cases"]
    assert [case["role"] for case in cases] == ["master", "follower"]
    for case in cases:
        assert case["beats_received_per_s"] > 0
        assert case["rss_mb"] > 0


def test_how_late_timers_are(tmp_path: Path) -> None:
    words = [sys.executable, str(HERE / "timers"), "--seconds", "1", "--json", str(tmp_path / "f")]
    subprocess.run(words, check=True)
    modes = json.loads((tmp_path / "f").read_text())["modes"]
    assert list(modes) == ["plain", "nice", "realtime"]
    for found in modes.values():
        assert found["timers"] > 0
        assert found["median_us"] <= found["p99_us"] <= found["latest_us"]
