# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon per host and cluster. The other daemon is a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saru.daemon.lock import Lock, Owner, owners
from saru.errors import SaruError

HOLD = """
import sys
from pathlib import Path
from saru.daemon.lock import Lock
with Lock.acquire(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock of cluster `saru`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path, "saru"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_daemon_is_refused_and_told_who_is_there(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(SaruError) as caught:
        Lock.acquire(tmp_path, "saru")
    assert str(caught.value) == (
        f"a daemon runs on this host already (cluster saru, pid {other.pid}); "
        "stop it first: systemctl stop saru"
    )


def test_another_cluster_has_a_lock_of_its_own(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with Lock.acquire(tmp_path, "second"):
        assert owners(tmp_path) == [Owner("saru", other.pid), Owner("second", os.getpid())]
    assert owners(tmp_path) == [Owner("saru", other.pid)]


def test_the_lock_of_a_killed_daemon_is_free(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert owners(tmp_path) == []
    with Lock.acquire(tmp_path, "saru"):
        assert owners(tmp_path) == [Owner("saru", os.getpid())]


def test_looking_for_owners_never_makes_a_starting_daemon_fail(tmp_path: Path) -> None:
    Lock.acquire(tmp_path, "saru").release()
    look = "import sys\nfrom pathlib import Path\nfrom saru.daemon.lock import owners\n"
    look += "print(flush=True)\nwhile True: owners(Path(sys.argv[1]))\n"
    with subprocess.Popen(
        [sys.executable, "-c", look, tmp_path], stdout=subprocess.PIPE, text=True
    ) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(50):
            Lock.acquire(tmp_path, "saru").release()
        looking.kill()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaruError, match=r"cannot open the lock .*/file/run/saru.lock: Not a dir"):
        Lock.acquire(tmp_path / "file" / "run", "saru")


def test_no_directory_no_daemons(tmp_path: Path) -> None:
    assert owners(tmp_path / "nowhere") == []
