# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon per host and cluster, and one per table. The other daemon is a real process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from saru.daemon import lock
from saru.daemon.lock import Lock, Owner, keepers, owners
from saru.errors import SaruError

HOLD = """
import sys
from pathlib import Path
from saru.daemon import lock
lock.TABLES = Path(sys.argv[1], "tables")
with lock.held(Path(sys.argv[1]), sys.argv[2], map(int, sys.argv[3:])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of tables are, for this test alone."""
    monkeypatch.setattr(lock, "TABLES", tmp_path / "tables")
    return lock.TABLES


def holding(words: Sequence[str]) -> subprocess.Popen[str]:
    """A process that runs by words with HOLD at their end, and has its locks."""
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "held\n", process.communicate()[1]
    return process


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the locks of cluster `saru` and of the table of id 1."""
    with holding([sys.executable, "-c", HOLD, str(tmp_path), "saru", "1"]) as process:
        yield process
        process.kill()


def test_a_second_daemon_is_refused_and_told_who_is_there(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(SaruError) as caught:
        Lock.of_cluster(tmp_path, "saru")
    assert str(caught.value) == (
        f"a daemon runs on this host already (cluster saru, pid {other.pid}); "
        "stop it first: systemctl stop saru"
    )


def test_another_cluster_has_a_lock_of_its_own(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with Lock.of_cluster(tmp_path, "second"):
        assert owners(tmp_path) == [Owner("saru", other.pid), Owner("second", os.getpid())]
    assert owners(tmp_path) == [Owner("saru", other.pid)]


def test_the_lock_of_a_killed_daemon_is_free(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert owners(tmp_path) == []
    with Lock.of_cluster(tmp_path, "saru"):
        assert owners(tmp_path) == [Owner("saru", os.getpid())]


def test_looking_for_owners_never_makes_a_starting_daemon_fail(tmp_path: Path) -> None:
    Lock.of_cluster(tmp_path, "saru").release()
    look = "import sys\nfrom pathlib import Path\nfrom saru.daemon.lock import owners\n"
    look += "print(flush=True)\nwhile True: owners(Path(sys.argv[1]))\n"
    with subprocess.Popen(
        [sys.executable, "-c", look, tmp_path], stdout=subprocess.PIPE, text=True
    ) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(50):
            Lock.of_cluster(tmp_path, "saru").release()
        looking.kill()


def test_who_looks_may_take_his_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "saru.lock"
    path.touch()
    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        passed = 0

        def sleep(_: float) -> None:
            nonlocal passed
            passed += 1
            if passed == 10 * lock.TRIES:
                fcntl.flock(looking, fcntl.LOCK_UN)

        monkeypatch.setattr("time.sleep", sleep)
        Lock.of_cluster(tmp_path, "saru").release()
        assert passed >= 10 * lock.TRIES
        fcntl.flock(looking, fcntl.LOCK_SH)
        with pytest.raises(SaruError, match="a daemon runs on this host already"):
            Lock.of_cluster(tmp_path, "saru")  # not for ever


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaruError, match=r"cannot open the lock .*/file/run/saru.lock: Not a dir"):
        Lock.of_cluster(tmp_path / "file" / "run", "saru")


def test_no_directory_no_daemons(tmp_path: Path) -> None:
    assert owners(tmp_path / "nowhere") == []


def test_a_table_has_one_daemon_whatever_its_cluster(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(SaruError) as caught, lock.held(tmp_path / "elsewhere", "second", [3, 1]):
        pass
    assert str(caught.value) == (
        f"another daemon keeps the table of id 1 on this host (cluster saru, pid {other.pid}); "
        "give each cluster's [[id]] a number of its own"
    )
    # What was taken before that has come back.
    assert keepers() == [Owner("saru", other.pid)]
    assert owners(tmp_path / "elsewhere") == []
    with lock.held(tmp_path / "elsewhere", "second", [2, 3]):
        assert keepers() == [Owner("saru", other.pid), Owner("second", os.getpid())]


def test_one_cluster_has_one_daemon_wherever_its_files_are(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(SaruError) as caught, lock.held(tmp_path / "elsewhere", "saru", [1]):
        pass
    assert str(caught.value) == (
        f"a daemon runs on this host already (cluster saru, pid {other.pid}); "
        "stop it first: systemctl stop saru"
    )


def test_the_table_of_a_killed_daemon_is_free(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert keepers() == []
    with lock.held(tmp_path, "second", [1]):
        assert keepers() == [Owner("second", os.getpid())]


def test_who_gets_the_cluster_gets_its_tables(tmp_path: Path) -> None:
    """A daemon that starts while another one ends has all locks, or is refused for the cluster."""
    go = "import sys\nfrom pathlib import Path\nfrom saru.daemon import lock\n"
    go += "lock.TABLES = Path(sys.argv[1], 'tables')\nprint(flush=True)\n"
    go += "while True:\n    try:\n        with lock.held(Path(sys.argv[1]), 'saru', [1, 2]): pass\n"
    go += "    except lock.SaruError as error:\n"
    go += "        assert str(error).startswith('a daemon runs on this host already'), error\n"
    with subprocess.Popen(
        [sys.executable, "-c", go, tmp_path], stdout=subprocess.PIPE, text=True
    ) as going:
        assert going.stdout is not None
        going.stdout.readline()
        why = set()
        for _ in range(50):
            try:
                with lock.held(tmp_path, "saru", [1, 2]):
                    pass
            except SaruError as error:
                why.add(str(error).partition(" (")[0])
        assert why <= {"a daemon runs on this host already"}
        assert going.poll() is None
        going.kill()


def test_each_network_namespace_has_tables_of_its_own(tmp_path: Path, tables: Path) -> None:
    words = ["unshare", "--net", sys.executable, "-c", HOLD, str(tmp_path), "saru", "1"]
    with holding(words) as there:
        assert len(list(tables.iterdir())) == 1
        assert keepers() == []
        with lock.held(tmp_path, "second", [1]):
            assert keepers() == [Owner("second", os.getpid())]
        there.kill()


def test_only_root_comes_near_the_locks_of_tables(tables: Path) -> None:
    """Whoever else could open one could lock it, and keep the daemon from its start."""
    Lock.of_table(1, "saru").release()
    assert tables.stat().st_mode & 0o777 == 0o700


def test_a_place_for_tables_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lock, "TABLES", tmp_path / "file" / "tables")
    with pytest.raises(SaruError, match=r"cannot open the lock .*/file/tables/\d+-1.lock: Not a d"):
        Lock.of_table(1, "saru")
