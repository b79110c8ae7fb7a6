# SPDX-License-Identifier: GPL-2.0-or-later
"""Restarts of real daemons, without a break and with one. They are witnesses: they hold no blocks,
but all the rest of the protocol's state goes from one process to the next.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from saru.status import State
from tests.net.netns import eventually
from tests.net.test_daemon import Daemon, cluster, masters


def agreed(daemons: dict[str, Daemon]) -> bool:
    found = masters(daemons)
    return len(found) == 1 and None not in found


def left(daemon: Daemon) -> Path:
    return daemon.config.parent / daemon.name / "saru.paused"


def session(daemon: Daemon) -> str:
    status = daemon.status()
    assert status is not None
    return status.session


def paused(daemon: Daemon) -> None:
    """`saru pause`, and the daemon has ended."""
    done = subprocess.run(daemon.command("pause"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + daemon.log()
    assert done.stdout == f"{daemon.name}: pauses; start it again soon: systemctl start saru\n"
    assert daemon.process.wait(60) == 0
    assert left(daemon).exists()


def test_a_rolling_restart_is_a_few_pauses(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        eventually("all hear one master", lambda: agreed(daemons))
        sessions = {name: session(daemon) for name, daemon in daemons.items()}
        for daemon in daemons.values():
            paused(daemon)
            daemon.process = daemon.start()
            eventually("it goes on", daemon.status)
            eventually("it takes part", lambda: agreed(daemons))
            assert not left(daemon).exists()
        for name, daemon in daemons.items():
            # The incarnation is the same; the number too, if this machine was quick enough.
            assert session(daemon).split(".")[0] == sessions[name].split(".")[0]
            log = daemon.log()
            assert log.count(f"{name}: starts") == 1
            assert f"{name}: goes on after a pause of" in log
            assert "left" not in {state for d in daemons for state in daemon.of(d).states}  # type: ignore[union-attr]
            status = daemon.status()
            assert status is not None
            # The next process counts its datagrams on: nobody took them for replayed ones.
            assert not status.counters.replayed


def test_what_is_left_is_used_once_and_not_after_another_start(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        eventually("all hear one master", lambda: agreed(daemons))
        wendy = daemons["wendy"]
        paused(wendy)
        shutil.copy(left(wendy), tmp_path / "kept")
        left(wendy).unlink()
        wendy.process = wendy.start()
        eventually("it starts anew", lambda: wendy.log().count("wendy: starts") == 2)
        wendy.end()
        shutil.copy(tmp_path / "kept", left(wendy))
        wendy.process = wendy.start()
        eventually("it starts anew again", lambda: wendy.log().count("wendy: starts") == 3)
        assert "does not go on where it paused: another daemon has run since" in wendy.log()
        assert not left(wendy).exists()


def test_a_killed_daemon_leaves_nothing_and_a_terminated_one_leaves(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        eventually("all hear one master", lambda: agreed(daemons))
        wendy = daemons["wendy"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(wendy.process.pid, number)
            wendy.process.wait(60)
            assert not left(wendy).exists()
            wendy.process = wendy.start()
            eventually("wendy is back", lambda: daemons["wanda"].sees("wendy", State.WITNESS))
        assert "goes on" not in wendy.log()


def test_a_pause_in_vain_is_refused(tmp_path: Path) -> None:
    """With other settings the next daemon could not go on: this one shall hand its blocks over."""
    with cluster(tmp_path) as daemons:
        wendy = daemons["wendy"]
        eventually("wendy answers", wendy.status)
        text = wendy.config.read_text()
        wendy.config.write_text(text.replace('deadtime = "1s"', 'deadtime = "2s"'))
        done = subprocess.run(wendy.command("pause"), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "changed in times.deadtime, times.initdead; stop it" in done.stderr
        assert wendy.status()


def test_a_lease_too_short_for_a_restart_is_refused(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        wendy = daemons["wendy"]
        eventually("wendy answers", wendy.status)
        words = wendy.command("pause", "--within", "2s")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "times.deadtime is 1s: too short for a pause of 2s; stop the daemon" in done.stderr
        assert wendy.status()


def test_no_daemon_no_pause(tmp_path: Path) -> None:
    with cluster(tmp_path) as daemons:
        daemons["wanda"].end()
        words = daemons["wanda"].command("pause")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "no daemon answers" in done.stderr
