# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: exit statuses and exact texts, on a host without daemon and module."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import saru
from saru import cli
from saru.control import Control
from saru.daemon import lock
from saru.daemon.lock import Lock
from saru.dataplane.module import NOT_LOADED
from saru.status import Status
from tests.unit.snapshots import division, status

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose daemon would live below `tmp_path`."""
    path = tmp_path / "saru.conf"
    path.write_text(
        f'[daemon]\nrun = "{tmp_path}/run"\nstate = "{tmp_path}/lib"\n[director]\nname = "walter"\n'
    )
    return path


@pytest.fixture
def daemon(config: Path) -> Iterator[list[Status]]:
    """The control socket of a daemon that says what stands in the list."""
    said = [status(problems=("something odd",))]
    ready, loop, done = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def answer(_: Mapping[str, Any]) -> Status:
        return said[0]

    async def serve() -> None:
        control = Control(config.parent / "run" / "saru.sock", {"status": answer})
        await control.start()
        ready.set()
        await done.wait()
        await control.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield said
    loop.call_soon_threadsafe(done.set)
    thread.join(30)
    loop.close()


def run(capsys: pytest.CaptureFixture[str], words: str, **paths: Path) -> tuple[int, str, str]:
    """The exit status and both outputs of `saru` with these words."""
    exit_status = cli.run(words.format(**paths).split())
    captured = capsys.readouterr()
    return exit_status, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("tabel", "no such command 'tabel' (see: saru --help)"),
        ("--frobnicate", "no such option '--frobnicate' (see: saru --help)"),
        ("table frobnicate", "no such command 'frobnicate' (see: saru table --help)"),
        ("table set 1 --held all", "missing option '--lease' (see: saru table set --help)"),
        ("table set --held all", "missing argument 'ID' (see: saru table set --help)"),
        (
            "table set 0 --held all --lease 5s",
            "invalid value for 'ID': 0 is not in the range 1<=x<=65535"
            " (see: saru table set --help)",
        ),
        (
            "table set 1 --held 5-3 --lease 5s",
            "invalid value for '--held': '5-3' runs backwards; write 3-5"
            " (see: saru table set --help)",
        ),
        (
            "table set 1 --held 0 --blocks 1000 --lease 5s",
            "invalid value for '--blocks': 1000 is no power of two (see: saru table set --help)",
        ),
        (
            "table set 1 --held all --lease 0s",
            "invalid value for '--lease': '0s' is no time at all (see: saru table set --help)",
        ),
        (
            "table renew 1 --lease soon",
            "invalid value for '--lease': 'soon' is no duration; write a number of seconds, or a "
            'text such as "100ms", "2s" or "1m" (see: saru table renew --help)',
        ),
        (
            "table renew 1 --lease 1s --term 1.256.1",
            "invalid value for '--term': '1.256.1' is no term; write counter.place.incarnation, "
            "at most 4294967295.255.16777215 (see: saru table renew --help)",
        ),
        ("weight wendy", "missing argument 'N' (see: saru weight --help)"),
        (
            "weight wendy 65536",
            "invalid value for 'N': 65536 is not in the range 0<=x<=65535 "
            "(see: saru weight --help)",
        ),
        (
            "drain --timeout 0s",
            "invalid value for '--timeout': '0s' is no time at all (see: saru drain --help)",
        ),
        (
            "leave --timeout 25h",
            "invalid value for '--timeout': '25h' is too long; write 24h at most "
            "(see: saru leave --help)",
        ),
        ("leave wendy", "got unexpected extra argument (wendy) (see: saru leave --help)"),
        ("table delete", "name the ids to delete, or write --all (see: saru table delete --help)"),
        ("table delete 1 --all", "name the ids to delete, or write --all"
         " (see: saru table delete --help)"),
        (
            "--debug status",
            "--debug, --log_facility, --join_delay, --witness and --prepare are for the daemon; "
            "leave them out before 'status' (see: saru --help)",
        ),
        (
            "--config {config} --witness",
            'cluster.witnesses: this node, "walter", is not among them, and --witness is for those '
            "who are; name it there, in the file of every node, or start it without --witness",
        ),
        ("status --config /no/such", "/no/such: there is no such file; write one, or name another"),
        ("--config /no/such", "/no/such: there is no such file; write one, or name another"),
        ("--config {config} --log_facility loca10", "'loca10' is no syslog facility; write -, "
         "a path, or one of auth, authpriv, cron, daemon, kern, lpr, mail, news, syslog, user, "
         "uucp, local0, local1, local2, local3, local4, local5, local6, local7"),
        ("--config {config} --join_delay never", "times.join_delay: 'never' is no duration; write "
         'a number of seconds, or a text such as "100ms", "2s" or "1m"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_words_ends_with_2(
    capsys: pytest.CaptureFixture[str], config: Path, words: str, error: str
) -> None:
    exit_status, out, err = run(capsys, words, config=config)
    assert (exit_status, out) == (2, "")
    assert err.removeprefix("saru: ").removeprefix(f"{config}: ") == f"{error}\n"


@pytest.mark.parametrize("words", ["list", "get 1", "delete 1", "watch"])
def test_without_the_module_it_ends_with_1(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run(capsys, f"table --dataplane module {words}") == (1, "", f"saru: {NOT_LOADED}\n")


ASKING = ("status", "status --json", "blocks", "blocks --json --id 1")
CHANGING = ("drain", "drain wendy --no-wait", "undrain wendy", "weight wendy 50", "leave")


@pytest.mark.parametrize("words", ASKING + CHANGING)
def test_without_a_daemon_it_ends_with_1(
    capsys: pytest.CaptureFixture[str], config: Path, words: str
) -> None:
    where = config.parent / "run" / "saru.sock"
    error = f"saru: no daemon answers at {where} (start it: systemctl start saru)\n"
    assert run(capsys, f"--config {{config}} {words}", config=config) == (1, "", error)
    assert run(capsys, f"{words} --config {{config}}", config=config) == (1, "", error)


def test_status_and_blocks_of_a_daemon(
    capsys: pytest.CaptureFixture[str], config: Path, daemon: list[Status]
) -> None:
    exit_status, out, err = run(capsys, "--config {config} status", config=config)
    assert (exit_status, err) == (0, "")
    assert out.startswith("cluster: saru\n  node: walter, session 7.0")
    assert out.endswith("Problems:\n  something odd\n")
    _, out, _ = run(capsys, "--config {config} status --json", config=config)
    assert msgspec.json.decode(out, type=Status) == daemon[0]
    _, out, _ = run(capsys, "--config {config} blocks", config=config)
    assert "\n     0 AAAAAAAABBBBBBBB\n" in out
    _, out, _ = run(capsys, "--config {config} blocks --json", config=config)
    blocks = json.loads(out)
    assert (blocks["cluster"], blocks["node"]) == ("saru", "walter")
    assert blocks["divisions"][0]["runs"][0] == {
        "first": 0,
        "last": 7,
        "holder": "walter",
        "since_ms": 192_000,
    }


def test_blocks_of_one_id(
    capsys: pytest.CaptureFixture[str], config: Path, daemon: list[Status]
) -> None:
    both = (division(), division(id=2))
    daemon[0] = msgspec.structs.replace(daemon[0], divisions=both)
    _, out, _ = run(capsys, "--config {config} blocks", config=config)
    assert out.count("version 3.0.7/12") == 2
    _, out, _ = run(capsys, "--config {config} blocks --id 2", config=config)
    assert out.startswith("id 2: ")
    assert run(capsys, "--config {config} blocks --id 3", config=config) == (
        1,
        "",
        "saru: the daemon has no id 3; it has 1, 2\n",
    )


def test_tables_are_not_set_beside_a_daemon(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its cluster, and wherever its files are: the configuration's are elsewhere."""
    monkeypatch.setattr(lock, "TABLES", config.parent / "tables")
    expected = (
        f"saru: a daemon keeps the tables of this host (cluster mail, pid {os.getpid()}); "
        "stop it first, or write --force\n"
    )
    with lock.held(config.parent / "elsewhere", "mail", [7]):
        for words in ("set 1 --held all --lease 5s", "renew 1 --lease 5s", "delete 1"):
            assert run(capsys, f"--config {{config}} table {words}", config=config) == (
                1,
                "",
                expected,
            )
            assert run(
                capsys,
                f"--config {{config}} table --dataplane module {words} --force",
                config=config,
            ) == (
                1,
                "",
                f"saru: {NOT_LOADED}\n",
            )


def test_a_second_daemon_is_refused(config: Path) -> None:
    with Lock.of_cluster(config.parent / "run", "saru"):
        done = saru_process("--config", str(config), "--log_facility", "-")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"saru: a daemon runs on this host already (cluster saru, pid {os.getpid()}); "
        "stop it first: systemctl stop saru"
    )


def test_config_check_finds_nothing_or_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path
) -> None:
    exit_status, out, err = run(capsys, "config check {config}", config=config)
    assert (exit_status, err) == (0, "")
    assert out.endswith(f"{config}: no errors\n")
    wrong = tmp_path / "wrong.conf"
    wrong.write_text(
        "[times]\nkeepalive = 2\ndeadtime = 3\n[director]\nweight = 70000\ncolour = 1\n"
    )
    exit_status, out, err = run(capsys, "config check {wrong}", wrong=wrong)
    assert (exit_status, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"saru: {wrong}: ") for line in lines)
    for key in ("times.deadtime: ", "director.weight: ", "director.colour: "):
        assert any(key in line for line in lines), key


def test_config_check_looks_into_the_keys_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys, path = tmp_path / "authkeys", tmp_path / "saru.conf"
    keys.write_text("auth 1\n1 sha256 secret\n")
    keys.chmod(0o644)
    path.write_text(f'[heartbeat]\nauthkeys = "{keys}"\n')
    assert run(capsys, "config check {path}", path=path) == (
        2,
        "",
        f"saru: {keys}: is mode 644, not 600; chmod 600 {keys}\n",
    )
    keys.chmod(0o600)
    assert run(capsys, "config check {path}", path=path)[0] == 0


def saru_process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `saru` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", "saru", *words],
        **{"stdout": subprocess.PIPE, **options},
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["project"]["version"] == saru.__version__
    done = saru_process("--version")
    assert (done.returncode, done.stdout) == (0, f"saru {saru.__version__}\n")


def test_help_names_every_command_and_needs_none_of_them() -> None:
    program = (
        "import sys; from saru import cli; cli.run(['--help']); "
        "print([m for m in ('asyncio', 'pyroute2', 'msgspec', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    for name, (_, text) in cli.COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert text in done.stdout
    assert done.stdout.endswith("[]\n"), "imported what --help does not need"


def test_every_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        exit_status, out, err = run(capsys, f"{name} --help")
        assert (exit_status, err) == (0, "")
        assert out.startswith(f"Usage: saru {name} ")


def test_a_group_without_a_command_prints_its_help_and_ends_with_2() -> None:
    done = saru_process("table")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: saru table [OPTIONS] COMMAND")


def test_a_full_disk_is_an_error_and_a_closed_pipe_is_quiet() -> None:
    with open("/dev/full", "w") as full:
        done = saru_process("--help", stdout=full)
    assert (done.returncode, done.stderr) == (1, "saru: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = saru_process("--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_anywhere_to_print_to_it_works(config: Path) -> None:
    closed = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-m", "saru"]
    for words in (["--help"], ["config", "check", str(config)]):
        done = subprocess.run(
            [*closed, *words],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_leaves_no_trace(config: Path) -> None:
    """Ctrl-C while a daemon that hangs is asked."""
    path = config.parent / "run" / "saru.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        hanging.settimeout(60)
        with subprocess.Popen(
            [sys.executable, "-m", "saru", "--config", config, "status"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        ) as process:
            connection, _ = hanging.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, out, err.strip()) == (1, "", "")
