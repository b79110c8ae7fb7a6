# SPDX-License-Identifier: GPL-2.0-or-later
"""What a paused daemon leaves behind: used once, and not at all if there is any doubt about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from saru import config
from saru.config import Config
from saru.core.coordinator import Coordinator
from saru.core.state import HoldingState, State
from saru.core.term import Term, Version
from saru.dataplane import Table, TableState
from saru.errors import SaruError, UsageError
from saru.membership import boottime
from saru.state import durable, pause
from saru.state.incarnation import next_incarnation

VERSION = Version(Term(3, 0, 1), 7)
HELD = 0b1010
LIFE = b"one life"
HOUR = 3600 * 10**9


def configured(folder: Path, **changed: str) -> Config:
    file = folder / "saru.conf"
    lines = {"cluster.nodes": '["walter", "wendy", "wanda"]', "director.name": '"walter"'} | changed
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    file.write_text(f'daemon.state = "{folder}"\n' + text)
    return config.load(file)


def state_of(settings: Config) -> State:
    """A state of a daemon that is in its first incarnation and holds two blocks of id 1."""
    now = boottime()
    core = Coordinator(settings.settings(), settings.director.name, 1, now)
    _, state = core.suspend(now)
    holding = HoldingState(1, VERSION, HELD.to_bytes(1, "little"), VERSION, now + HOUR)
    return msgspec.structs.replace(state, holdings=(holding,), lease=now + HOUR)


class Kernel:
    """A data plane in which there is one table, or none."""

    name = "paper"

    def __init__(self, **changed: object) -> None:
        table = Table(
            id=1,
            blocks=1024,
            seed=0,
            version=VERSION,
            deadline=boottime() + HOUR,
            lease_max=HOUR,
            held=HELD,
        )
        self.table: Table | None = msgspec.structs.replace(table, **changed)

    async def get(self, id: int) -> TableState:  # noqa: A002
        return TableState(id=id, table=self.table)


@pytest.fixture
def conf(tmp_path: Path) -> Config:
    made = configured(tmp_path)
    assert next_incarnation(made.daemon.state, made.cluster.name) == 1
    return made


def inherit(conf: Config, kernel: Kernel | None = None) -> pause.Pause | None:
    return asyncio.run(pause.inherit(conf, kernel or Kernel()))  # type: ignore[arg-type]


def test_it_is_used_once(conf: Config) -> None:
    state = state_of(conf)
    pause.leave(conf, state, LIFE, 77)
    left = inherit(conf)
    assert left is not None
    assert (left.state, left.life, left.sequence) == (state, LIFE, 77)
    assert not pause.path(conf).exists()
    assert inherit(conf) is None


def test_its_mode_is_nobody_elses_business(conf: Config) -> None:
    pause.leave(conf, state_of(conf), LIFE, 1)
    assert not pause.path(conf).stat().st_mode & 0o022


Change = Callable[[pause.Pause], pause.Pause]


def of_state(**changed: object) -> Change:
    def change(left: pause.Pause) -> pause.Pause:
        state = msgspec.structs.replace(left.state, **changed)
        return msgspec.structs.replace(left, state=state)

    return change


DOUBTS: dict[str, Change] = {
    "booted": lambda left: msgspec.structs.replace(left, boot="another"),
    "another release": lambda left: msgspec.structs.replace(left, format=pause.FORMAT + 1),
    "it was walter of the cluster other": lambda left: msgspec.structs.replace(
        left, cluster="other"
    ),
    "it was wendy": of_state(node="wendy"),
    "changed in times.keepalive": lambda left: of_state(
        settings=left.state.settings[:12] + b"else" + left.state.settings[16:]
    )(left),
    "clock has gone back": of_state(at=boottime() + HOUR),
}


@pytest.mark.parametrize("why", DOUBTS)
def test_what_is_doubtful_is_not_used_and_does_not_stay(conf: Config, why: str) -> None:
    pause.leave(conf, state_of(conf), LIFE, 1)
    file = pause.path(conf)
    left = msgspec.msgpack.decode(file.read_bytes(), type=pause.Pause)
    durable.replace(file, msgspec.msgpack.encode(DOUBTS[why](left)))
    with pytest.raises(pause.DoubtError, match=why):
        inherit(conf)
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"nonsense", msgspec.msgpack.encode({"a": 1})])
def test_a_damaged_one_is_not_used(conf: Config, content: bytes) -> None:
    pause.path(conf).write_bytes(content)
    with pytest.raises(pause.DoubtError, match="damaged"):
        inherit(conf)
    assert not pause.path(conf).exists()


def test_a_name_in_no_known_letters_is_damage(conf: Config) -> None:
    pause.leave(conf, state_of(conf), LIFE, 1)
    file = pause.path(conf)
    name = conf.cluster.name.encode()
    content = file.read_bytes()
    assert name in content
    file.write_bytes(content.replace(name, b"\xff" * len(name)))
    with pytest.raises(pause.DoubtError, match="damaged"):
        inherit(conf)


def test_another_daemon_has_run_since(conf: Config) -> None:
    pause.leave(conf, state_of(conf), LIFE, 1)
    next_incarnation(conf.daemon.state, conf.cluster.name)
    with pytest.raises(pause.DoubtError, match="another daemon has run"):
        inherit(conf)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"version": Version(VERSION.term, 8)}, "another one"),
        ({"held": 1}, "another one"),
        ({"deadline": 1}, "deadline .* has passed"),
    ],
)
def test_the_kernels_table_must_be_the_one(
    conf: Config, changed: dict[str, object], why: str
) -> None:
    pause.leave(conf, state_of(conf), LIFE, 1)
    with pytest.raises(pause.DoubtError, match=why):
        inherit(conf, Kernel(**changed))


def test_a_table_that_has_gone_or_come(conf: Config) -> None:
    kernel = Kernel()
    kernel.table = None
    pause.leave(conf, state_of(conf), LIFE, 1)
    with pytest.raises(pause.DoubtError, match="has gone"):
        inherit(conf, kernel)
    nothing = HoldingState(1, None, b"", None, 0)
    pause.leave(conf, msgspec.structs.replace(state_of(conf), holdings=(nothing,)), LIFE, 1)
    with pytest.raises(pause.DoubtError, match="and had none"):
        inherit(conf)


def test_after_the_lease_the_tables_do_not_matter(conf: Config) -> None:
    """They are deleted before anything is said."""
    pause.leave(conf, msgspec.structs.replace(state_of(conf), lease=1), LIFE, 1)
    assert inherit(conf, Kernel(held=1)) is not None


@pytest.mark.parametrize("format_", [pause.FORMAT + 1, 0])
def test_for_a_program_of_another_release_it_leaves(conf: Config, format_: int) -> None:
    """A pause in vain would leave its blocks to nobody until its lease has passed."""
    asked = msgspec.structs.replace(pause.Asked.by(conf), format=format_)
    pause.refuse_others(pause.Asked.by(conf), conf)
    with pytest.raises(SaruError, match="cannot pause, for the program that is installed now"):
        pause.refuse_others(asked, conf)


def test_a_request_that_is_none_is_refused(conf: Config) -> None:
    with pytest.raises(UsageError, match="does not understand the request"):
        pause.refuse_others(pause.Asked("walter", "zz"), conf)
