# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's local socket, both ends, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from saru.control import CLIENTS_MAX, REQUEST_MAX, Control, DaemonError, ask, socket_path
from saru.errors import OutageError, SaruError, UsageError


class Echo(msgspec.Struct):
    said: dict[str, Any]


async def echo(arguments: Mapping[str, Any]) -> Echo:
    return Echo(dict(arguments))


async def nothing(_: Mapping[str, Any]) -> None:
    return None


async def refuse(_: Mapping[str, Any]) -> None:
    raise UsageError("weight 70000 is above 65535")


async def break_down(_: Mapping[str, Any]) -> None:
    raise KeyError("a bug")


async def hang(_: Mapping[str, Any]) -> None:
    await asyncio.sleep(3600)


ANSWERERS = {
    "echo": echo,
    "nothing": nothing,
    "refuse": refuse,
    "break down": break_down,
    "hang": hang,
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The socket of a control server that runs in a thread."""
    path = socket_path(tmp_path / "run", "saru")
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        control = Control(path, ANSWERERS)
        await control.start()
        ready.set()
        await done.wait()
        await control.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield path
    loop.call_soon_threadsafe(done.set)
    thread.join(30)
    loop.close()
    assert not path.exists()


def test_an_answer(path: Path) -> None:
    assert ask(path, Echo, "echo", weight=5, name="wendy") == Echo({"weight": 5, "name": "wendy"})
    assert ask(path, type(None), "nothing") is None


def test_a_large_answer(path: Path) -> None:
    text = "x" * (REQUEST_MAX - 1000)
    assert ask(path, Echo, "echo", text=text).said["text"] == text


def test_only_the_owner_may_connect(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_refusal_keeps_its_words_and_its_exit_status(path: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        ask(path, Echo, "refuse")
    assert str(caught.value) == "weight 70000 is above 65535"
    assert caught.value.exit_status == 2


def test_a_fault_in_one_answer_does_not_end_the_daemon(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DaemonError, match="the daemon failed to answer 'break down': see its log"):
        ask(path, Echo, "break down")
    assert "KeyError: 'a bug'" in caplog.text
    assert ask(path, Echo, "echo") == Echo({})


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"{}\n", "does not understand the request: Object missing required field `ask`"),
        (b"rubbish\n", "does not understand the request: "),
        (b"x" * (REQUEST_MAX + 1) + b"\n", "does not understand the request: "),
        (b'{"ask":"te\xe4"}\n', "does not understand the request: "),
        (b'{"ask":"tea","with":' + b"[" * 50_000 + b"\n", "does not understand the request: "),
        (b'{"ask":"tea"}\n', "the daemon does not know 'tea'"),
    ],
)
def test_rubbish_gets_an_error(path: Path, sent: bytes, said: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert said in msgspec.json.decode(received)["error"]


def test_an_answer_of_another_shape(path: Path) -> None:
    with pytest.raises(OutageError, match="gave no proper answer"):
        ask(path, int, "echo")


@pytest.mark.parametrize("answer", [b"", b"tea", b'{"error":"te\xe4"}', b"[" * 50_000])
def test_an_answer_that_nobody_can_read(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "saru.sock"

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(REQUEST_MAX)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        serving = threading.Thread(target=serve, args=(server,))
        serving.start()
        with pytest.raises(OutageError, match="gave no proper answer"):
            ask(path, Echo, "echo")
        serving.join()


def test_a_daemon_that_hangs(path: Path) -> None:
    with pytest.raises(OutageError, match=r"did not answer within 0\.2 s \(it is stopped or hangs"):
        ask(path, Echo, "hang", timeout=0.2)


def test_no_daemon_is_an_outage_with_its_mend(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "saru")
    expected = f"no daemon answers at {path} (start it: systemctl start saru)"
    with pytest.raises(OutageError) as caught:
        ask(path, Echo, "echo")
    assert str(caught.value) == expected
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(OutageError) as caught:
        ask(path, Echo, "echo")
    assert str(caught.value) == expected


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "saru")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def exchange() -> Echo:
        control = Control(path, ANSWERERS)
        await control.start()
        answer = await asyncio.to_thread(ask, path, Echo, "echo", again=True)
        await control.stop()
        return answer

    assert asyncio.run(exchange()) == Echo({"again": True})


def test_a_name_too_long_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "saru.sock"
    with pytest.raises(SaruError, match=r"too long for a socket \(107 bytes\); shorten daemon.run"):
        asyncio.run(Control(path, {}).start())


def test_a_name_too_long_to_ask_at(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "saru.sock"
    with pytest.raises(OutageError, match="broke off: AF_UNIX path too long"):
        ask(path, Echo, "echo")


def test_clients_that_say_nothing_do_not_use_up_the_daemons_files(path: Path) -> None:
    """More than may ask at a time are let go at once; the others are heard when there is room."""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(2 * CLIENTS_MAX)]
    for client in silent:
        client.connect(str(path))  # waits while the queue is full; with a time limit it would not
        client.settimeout(30)
    assert silent[-1].recv(1) == b""
    with pytest.raises(OutageError, match=r"gave no proper answer|broke off"):
        ask(path, Echo, "echo")
    for client in silent:
        client.close()
    until = time.monotonic() + 60
    while True:
        try:
            assert ask(path, Echo, "echo", again=True) == Echo({"again": True})
            break
        except OutageError:
            assert time.monotonic() < until, "nobody is let in, though all have gone"
