# SPDX-License-Identifier: GPL-2.0-or-later
"""Syslog, with a listener of our own at its socket's place."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import saru.daemon.log
from saru.daemon.log import Destination, Kind, set_up
from saru.errors import SaruError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Syslog's socket moved to where it harms nobody; the log is as before afterwards."""
    path = tmp_path / "log"
    monkeypatch.setattr(saru.daemon.log, "SYSLOG", str(path))
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("saru").level)
    root.handlers = []
    yield path
    for handler in root.handlers:
        handler.close()
    root.handlers = before[0]
    root.setLevel(before[1])
    logging.getLogger("saru").setLevel(before[2])


def test_a_line_has_facility_priority_name_and_pid(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(place))
        syslog.settimeout(30)
        set_up(Destination(Kind.SYSLOG, "local3"), debug=False)
        logging.getLogger("saru.daemon").warning("wendy: late")
        facility, warning = 19, 4
        assert syslog.recv(4096).decode() == (
            f"<{facility * 8 + warning}>saru[{os.getpid()}]: wendy: late"
        )


def test_a_host_without_syslog_logs_to_the_terminal_and_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(Destination(Kind.SYSLOG, "daemon"), debug=False)
    assert f"syslog does not answer at {place}: No such file" in capsys.readouterr().err
    logging.getLogger("saru.daemon").info("wendy: seen")
    assert "wendy: seen" in capsys.readouterr().err


def test_syslog_asked_for_by_name_must_be_there(place: Path) -> None:
    with pytest.raises(SaruError) as caught:
        set_up(Destination(Kind.SYSLOG, "daemon", asked=True), debug=False)
    assert str(caught.value) == (
        f"syslog does not answer at {place}: No such file or directory; start it, or name another "
        "place for the log with --log_facility (- is the terminal)"
    )


def test_a_syslog_that_ends_later_loses_no_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(place))
        set_up(Destination(Kind.SYSLOG, "daemon"), debug=False)
    place.unlink()
    logging.getLogger("saru.daemon").info("wendy: silent")
    assert "wendy: silent" in capsys.readouterr().err
