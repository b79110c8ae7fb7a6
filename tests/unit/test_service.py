# SPDX-License-Identifier: GPL-2.0-or-later
"""The systemd unit: what it runs when it stops, and what systemd says of it."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from deploy.lab.cache import PROJECT

UNIT = PROJECT / "deploy" / "saru.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


@pytest.mark.parametrize(
    ("jobs", "paused"),
    [
        ("1417 saru.service restart running", True),
        ("1417 saru.service stop    running", False),
        ("", False),
    ],
)
def test_a_restart_is_a_pause_and_a_stop_is_not(tmp_path: Path, jobs: str, paused: bool) -> None:
    """The unit's own words, with a systemctl that says what systemd would of its jobs."""
    for name, text in {
        "systemctl": f'echo "$@" > {tmp_path}/asked; echo "{jobs}"',
        "saru": f'echo "$@" > {tmp_path}/done',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    line = unit()["Service"]["ExecStop"].removeprefix("-")
    words = [word.replace("%n", "saru.service").replace("$$", "$") for word in shlex.split(line)]
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(words, env={"PATH": path}, check=True)
    assert (tmp_path / "asked").read_text() == "list-jobs --no-legend saru.service\n"
    assert (tmp_path / "done").exists() == paused
    if paused:
        assert (tmp_path / "done").read_text() == "pause --within 2s\n"


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """With programs that are there: what the unit runs is installed elsewhere, perhaps not here."""
    text = UNIT.read_text()
    for program in ("/usr/local/bin/saru", "/sbin/modprobe"):
        text = text.replace(program, "/bin/true")
    copy = tmp_path / "saru.service"
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "saru.service" not in done.stderr
