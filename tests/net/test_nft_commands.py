# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru table` on nftables."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from saru.dataplane.nftables import Nftables
from tests.dataplane_checks import table
from tests.net.nft_plane import on_a_plane

PROJECT = Path(__file__).parents[2]


def saru(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saru", "table", "--dataplane", "nftables", *words]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)


def test_the_commands() -> None:
    nothing = saru("list", "--json")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "[]\n", "")
    assert saru("get", "7").stderr == "saru: there is no table of id 7\n"
    words = "set 7 --blocks 16 --held 0-3,8 --lease 500s --seed 3 --term 4.1.2 --serial"
    done = saru(*words.split(), "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert saru("renew", "7", "--lease", "400s").returncode == 0
    (listed,) = json.loads(saru("list", "--json").stdout)
    assert listed["table"]["held"] == [[0, 3], [8, 8]]
    stale = saru(*words.split(), "8")
    assert (stale.returncode, stale.stderr) == (1, "saru: the version is older than the table's\n")
    text = saru("get", "7", "--packets").stdout
    assert "  version: 4.1.2/9\n  blocks: 16, seed 3\n  held: 5 (0-3,8)\n" in text
    assert saru("delete", "7").returncode == 0
    again = saru("delete", "7")
    assert (again.returncode, again.stderr) == (1, "saru: there is no table of id 7\n")


def test_watch_prints_events_until_interrupted() -> None:
    command = [sys.executable, "-m", "saru", "table", "--dataplane", "nftables", "watch", "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as watch:
        lines: list[str] = []
        assert watch.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(watch.stdout.readline()))  # type: ignore[union-attr]
        reader.start()

        async def work(plane: Nftables) -> None:
            serial = 0
            while not lines:  # it takes a while until it listens
                assert watch.poll() is None
                serial += 1
                await plane.set(table(9, serial))

        on_a_plane(work)
        reader.join()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
    event = json.loads(lines[0])
    assert (event["event"], event["id"], event["users"], event["term"]) == ("set", 9, 0, "2.1.7")
