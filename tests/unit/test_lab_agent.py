# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent in a guest: a host's words may come joined, or torn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import agent


class Started:
    """In place of a command."""

    def __init__(self, _port: agent.Port, _number: int, request: dict[str, Any]) -> None:
        self.argv: list[str] = request["argv"]
        self.killed = False

    def kill(self, _signal: int) -> None:
        self.killed = True


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> agent.Port:
    """A port that a pipe stands for: what is written to it, it reads."""
    os.mkfifo(tmp_path / "port")
    monkeypatch.setattr(agent, "Command", Started)
    return agent.Port(str(tmp_path / "port"))


def says(port: agent.Port, text: bytes) -> None:
    os.write(port.fd, text)
    port.read()


def line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def started(port: agent.Port) -> list[Any]:
    return list(port.commands.values())


def test_a_second_hello_and_half_a_command(port: agent.Port) -> None:
    """Its answer to the first one came late."""
    says(port, line(hello="a"))
    command = line(id=1, argv=["true"])
    says(port, line(hello="b") + command[:9])
    assert not started(port)
    says(port, command[9:])
    assert [one.argv for one in started(port)] == [["true"]]
    assert bytes(port.outgoing) == line(hello="b")


def test_a_new_host_ends_what_the_last_one_started(port: agent.Port) -> None:
    says(port, line(hello="a") + line(id=1, argv=["sleep", "9"]))
    says(port, b'{"id": 2, "ar')  # it went in the middle of a word
    says(port, line(hello="lost"))
    assert not started(port)[0].killed
    says(port, line(hello="b"))
    assert started(port)[0].killed
