# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the log goes, and how its lines look there."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from saru.daemon.log import Destination, Kind, aside, destination, set_up
from saru.errors import SaruError, UsageError

SYSTEMD = {"JOURNAL_STREAM": "9:12345"}


@pytest.mark.parametrize(
    ("given", "debug", "configured", "environment", "expected"),
    [
        (None, False, "daemon", {}, Destination(Kind.SYSLOG, "daemon")),
        (None, False, "daemon", SYSTEMD, Destination(Kind.JOURNAL)),
        (None, False, "local3", {}, Destination(Kind.SYSLOG, "local3")),
        (None, False, "local3", SYSTEMD, Destination(Kind.SYSLOG, "local3")),
        (None, False, "/var/log/saru", {}, Destination(Kind.FILE, "/var/log/saru")),
        (None, True, "daemon", {}, Destination(Kind.TERMINAL)),
        (None, True, "local3", {}, Destination(Kind.TERMINAL)),
        (None, True, "daemon", SYSTEMD, Destination(Kind.TERMINAL)),
        ("-", True, "daemon", {}, Destination(Kind.TERMINAL)),
        ("-", False, "daemon", SYSTEMD, Destination(Kind.TERMINAL)),
        ("daemon", False, "-", SYSTEMD, Destination(Kind.SYSLOG, "daemon", asked=True)),
        ("local0", True, "daemon", {}, Destination(Kind.SYSLOG, "local0", asked=True)),
        ("./saru.log", True, "daemon", {}, Destination(Kind.FILE, "./saru.log", asked=True)),
    ],
)
def test_where(
    given: str | None,
    debug: bool,
    configured: str,
    environment: dict[str, str],
    expected: Destination,
) -> None:
    assert expected == destination(
        given, debug=debug, configured=configured, environment=environment
    )


@pytest.mark.parametrize("name", ["loca10", "", "saru.log"])
def test_an_unknown_facility_is_refused_and_the_known_ones_are_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        destination(name, debug=False, configured="daemon", environment={})
    assert str(caught.value) == (
        f"{name!r} is no syslog facility; write -, a path, or one of auth, authpriv, cron, "
        "daemon, kern, lpr, mail, news, syslog, user, uucp, local0, local1, local2, local3, "
        "local4, local5, local6, local7"
    )


def written(where: Destination, *, debug: bool) -> str:
    """What a process of its own writes to its standard error when it logs there."""
    program = f"""
import logging
from saru.daemon.log import Destination, Kind, set_up
set_up(Destination({where.kind}, {where.name!r}), debug={debug})
log = logging.getLogger("saru.test")
log.debug("a detail")
log.info("walter: seen\\n(two lines)")
log.warning("wendy: late")
log.error("wanda: broken")
logging.getLogger("other.library").info("chatter")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr


def test_the_journal_gets_a_priority_per_line() -> None:
    assert written(Destination(Kind.JOURNAL), debug=True) == (
        "<7>a detail\n<6>walter: seen\n<6>(two lines)\n<4>wendy: late\n<3>wanda: broken\n"
    )


def test_without_debug_details_are_left_out() -> None:
    assert "a detail" not in written(Destination(Kind.JOURNAL), debug=False)


def test_the_terminal_gets_the_time_and_the_level() -> None:
    lines = written(Destination(Kind.TERMINAL), debug=False).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} WARNING wendy: late", lines[2])


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "saru.log"
    path.write_text("before\n")
    assert written(Destination(Kind.FILE, str(path)), debug=False) == ""
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ERROR   wanda: broken", lines[-1])


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = f"{tmp_path}/no/such/directory/log"
    with pytest.raises(SaruError) as caught:
        set_up(Destination(Kind.FILE, path), debug=False)
    assert str(caught.value) == (
        f"cannot log to {path}: No such file or directory; name another place with --log_facility"
    )


def test_what_writes_the_log_keeps_nobody_waiting() -> None:
    written: list[str] = []
    answers = threading.Event()

    class Slow(logging.Handler):
        """A disk that does not answer for a while."""

        def emit(self, record: logging.LogRecord) -> None:
            assert answers.wait(60)
            written.append(self.format(record))

    async def work() -> None:
        for number in range(3):
            logger.warning("line %d", number)
        assert not written
        answers.set()

    logger, slow = logging.getLogger(), Slow()
    logger.addHandler(slow)
    try:
        before = logger.handlers[:]
        asyncio.run(aside(work()))
        assert logger.handlers == before
    finally:
        logger.removeHandler(slow)
    assert written == ["line 0", "line 1", "line 2"]
