# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmarks run, and write down what they say. What they find is not judged here, but for
one ratio, which the machine's speed and what else runs on it do not change."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.stalls import PRIORITY, Stalls

HERE = Path(__file__).parent
DEAREST = 2
"""Times a signature: what a false beat may cost, as promised. It is a ratio of CPU times, taken in
turn, and the median of many rounds: other work on the machine takes part in both sides."""


def test_what_a_false_beat_costs(tmp_path: Path, figures: Callable[[str], None]) -> None:
    words = [str(HERE / "reject"), "--rounds", "45", "--json", str(tmp_path / "f")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = json.loads((tmp_path / "f").read_text())
    assert found["worst"] == max(
        kind["ratio"] for kinds in found["voters"].values() for kind in kinds.values()
    )
    said = f"worst ratio: {found['worst']:.2f}; reach: at most {DEAREST}"
    assert said in done.stdout
    figures(said)
    assert found["worst"] <= DEAREST


def test_what_a_daemon_costs(tmp_path: Path) -> None:
    words = [str(HERE / "daemon_cost"), "--directors", "3", "--seconds", "3"]
    subprocess.run([*words, "--json", str(tmp_path / "f")], check=True)
    cases = json.loads((tmp_path / "f").read_text())["cases"]
    assert [case["role"] for case in cases] == ["master", "follower"]
    for case in cases:
        assert case["beats_received_per_s"] > 0
        assert case["rss_mb"] > 0


def test_how_late_timers_are(tmp_path: Path) -> None:
    words = [str(HERE / "timers"), "--seconds", "1", "--json", str(tmp_path / "f")]
    subprocess.run(words, check=True)
    modes = json.loads((tmp_path / "f").read_text())["modes"]
    assert list(modes) == ["plain", "nice", "realtime"]
    for found in modes.values():
        assert found["timers"] > 0
        assert found["median_us"] <= found["p99_us"] <= found["latest_us"]


def test_for_how_long_moving_blocks_have_no_holder(tmp_path: Path) -> None:
    words = [str(HERE / "moves"), "--rounds", "1", "--json", str(tmp_path / "f")]
    subprocess.run(words, check=True)
    changes = json.loads((tmp_path / "f").read_text())["changes"]
    assert list(changes)[::5] == ["drain", "start"]
    for found in changes.values():
        assert len(found["gaps"]) + len(found["left_out"]) == 1


def test_who_fails_over_in_how_long(tmp_path: Path) -> None:
    words = [str(HERE / "failover"), "--runs", "1", "--interval", "0.1"]
    subprocess.run([*words, "--json", str(tmp_path / "f")], check=True)
    (entry,) = json.loads((tmp_path / "f").read_text())["figures"]
    for by_name in entry["faults"].values():
        assert list(by_name) == ["keepalived", "saru"]
        for found in by_name.values():
            (took,) = found["times"]
            assert took > 0
            assert found["best"] == found["median"] == found["worst"] == took


def test_false_takeovers_are_counted_beside_hogs(tmp_path: Path) -> None:
    words = [str(HERE / "failover"), "--hogs", "2", "--interval", "0.1"]
    subprocess.run([*words, "--json", str(tmp_path / "f")], check=True)
    (entry,) = json.loads((tmp_path / "f").read_text())["figures"]
    for name in ("keepalived", "saru"):
        assert set(entry["false_takeovers"][name]) == {"counted", "stalled"}


def test_a_machine_that_stands_still_is_noticed() -> None:
    began = time.monotonic_ns()
    with Stalls() as stalls:
        here = threading.Thread(target=stand_still, args=(stalls,))
        here.start()
        here.join()
        assert stalls.worst(began, time.monotonic_ns()) > 0
        assert stalls.longer_than(0, began) > 0


def stand_still(stalls: Stalls) -> None:
    """Keep the core from everybody for 10 ms at a time, until that is noticed."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY + 1))
    end = time.monotonic() + 30
    while not stalls.longer_than(0, 0) and time.monotonic() < end:
        until = time.monotonic() + 0.01
        while time.monotonic() < until:
            pass
        time.sleep(0.01)


def test_what_a_cluster_costs_zookeeper(tmp_path: Path) -> None:
    words = [str(HERE / "zookeeper"), "--directors", "3", "--seconds", "1"]
    subprocess.run([*words, "--json", str(tmp_path / "f")], check=True)
    (case,) = json.loads((tmp_path / "f").read_text())["cases"]
    assert case["directors"] == 3
    assert case["znodes"] > 3 * 3
    assert case["watches"] > 0
    assert case["requests_per_s"] > 0
    assert case["change_watch_events"] > 0
