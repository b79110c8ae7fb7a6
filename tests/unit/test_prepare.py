# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru --prepare`: what the daemon puts in order before it starts, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru import config
from saru.config import Config
from saru.daemon import log, service
from saru.errors import OutageError
from saru.link import shared
from saru.rules import install

LINK = '[link]\ninterface = "eth0"\nmac = "00:50:56:14:03:40"\n'


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; the daemon is begun and does not come to life."""
    words: list[str] = []

    def note(word: str) -> list[str]:
        words.append(word)
        return [word]

    def begin(_: Config) -> None:
        words.append("daemon")
        raise OutageError("no more than this")

    monkeypatch.setattr(install, "apply", lambda _: note("rules"))
    monkeypatch.setattr(shared, "up", lambda _: note("link"))
    monkeypatch.setattr(service, "_made", begin)
    monkeypatch.setattr(log, "set_up", lambda *_, **__: None)
    return words


def started(tmp_path: Path, text: str, *, prepare: bool) -> None:
    path = tmp_path / "saru.conf"
    places = f'[daemon]\nrun = "{tmp_path}/run"\nstate = "{tmp_path}/lib"\n'
    path.write_text(f'{places}[director]\nname = "walter"\n{text}')
    with pytest.raises(OutageError):
        service.run(config.load(path), False, None, prepare=prepare)


def test_rules_first_then_the_link_then_the_daemon(
    tmp_path: Path, done: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "saru"):
        started(tmp_path, LINK, prepare=True)
    assert done == ["rules", "link", "daemon"]
    assert caplog.messages == ["walter: rules", "walter: link"]


def test_without_a_link_the_rules_alone(tmp_path: Path, done: list[str]) -> None:
    started(tmp_path, "", prepare=True)
    assert done == ["rules", "daemon"]


def test_a_witness_has_neither(tmp_path: Path, done: list[str]) -> None:
    nodes = '[cluster]\nnodes = ["walter", "wendy", "wanda"]\nwitnesses = ["walter"]\n'
    started(tmp_path, nodes, prepare=True)
    assert done == ["daemon"]


def test_who_is_not_asked_does_nothing(tmp_path: Path, done: list[str]) -> None:
    started(tmp_path, LINK, prepare=False)
    assert done == ["daemon"]
