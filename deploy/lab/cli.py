# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `lab`: parse, call, print."""

import json
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TypeVar

import click

from deploy.lab import kernels, topology
from deploy.lab.cache import LabError
from deploy.lab.laboratory import DEFAULT, Laboratory, Setup

FAILED, USAGE = 1, 2
ESCAPE = b"\x1d"
"""Ctrl-] leaves the console, as it does a telnet."""

Wrapped = TypeVar("Wrapped", bound=Callable[..., None])


def say(text: str) -> None:
    """A line of progress."""
    click.echo(text, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--lab", "name", default=DEFAULT, envvar="SARU_LAB", show_default=True,
    help="Which lab: several can be up at once.",
)  # fmt: skip
@click.pass_context
def lab(ctx: click.Context, name: str) -> None:
    """Several directors in virtual machines, a client and two real servers, on wires that can
    be cut. Nothing of it leaves this machine."""
    if not name.replace("-", "").isalnum():
        raise click.UsageError(f"'{name}' cannot name a lab: use letters, digits and dashes")
    if os.geteuid():
        raise LabError("the lab makes network namespaces and needs root: use sudo")
    ctx.obj = Laboratory(name)


@lab.command()
@click.option(
    "--directors", type=click.IntRange(1, len(topology.DIRECTORS)), default=3, show_default=True,
    help="How many.",
)  # fmt: skip
@click.option(
    "--kernel", type=click.Choice(kernels.VERSIONS), default=kernels.VERSIONS[0],
    show_default=True, help="Which of Debian's kernels the directors boot.",
)  # fmt: skip
@click.option(
    "--membership", type=click.Choice(topology.MEMBERSHIPS), default="heartbeat", show_default=True,
    help="How the directors know of each other.",
)  # fmt: skip
@click.option(
    "--link-mode", type=click.Choice(["unicast", "hub"]), default="unicast", show_default=True,
    help="hub: without the source MAC mask, which a learning switch does not forgive.",
)  # fmt: skip
@click.pass_obj
def up(
    laboratory: Laboratory, directors: int, kernel: str, membership: str, link_mode: str
) -> None:
    """Boot the directors and start everything."""
    setup = Setup(topology.DIRECTORS[:directors], kernel, membership, link_mode)
    laboratory.up(setup, say)
    say(f"the VIP is {topology.VIP}; try: lab exec client -- curl -s http://{topology.VIP}/")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def status(laboratory: Laboratory, as_json: bool) -> None:
    """Show every node, and what is cut."""
    setup, nodes = laboratory.setup(), laboratory.status()
    if as_json:
        click.echo(json.dumps({**asdict(setup), "nodes": [asdict(node) for node in nodes]}))
        return
    for node in nodes:
        addresses = " ".join(node.addresses)
        click.echo(f"{node.name:9} {node.role:12} {node.state:12} {addresses}")
    for one, other in setup.cuts:
        click.echo(f"cut: {one} - {other}")


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("node", metavar="NAME")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--stdin", is_flag=True, help="Hand on this command's standard input.")
@click.pass_obj
def execute(laboratory: Laboratory, node: str, command: tuple[str, ...], stdin: bool) -> None:
    """Run a command in a director, the client or a real server. Its status is the command's."""
    setup = laboratory.setup()
    name = topology.resolve(node, setup.directors)
    if name not in setup.directors:
        if not stdin:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        space = laboratory.network.namespace(name)
        os.execvp("ip", ["ip", "netns", "exec", space, *command])

    def pass_on(stream: str, chunk: bytes) -> None:
        out = sys.stdout if stream == "out" else sys.stderr
        out.buffer.write(chunk)
        out.buffer.flush()

    guest = laboratory.guest(name)
    process = guest.start_command(command, listener=pass_on)
    if stdin:
        while chunk := os.read(0, 32768):
            process.write(chunk)
    process.close_input()
    returned = process.wait().returncode
    guest.close()
    sys.exit(returned if returned >= 0 else 128 - returned)


@lab.command()
@click.argument("name")
@click.pass_obj
def console(laboratory: Laboratory, name: str) -> None:
    """A director's serial console: its kernel's messages and a shell. Ctrl-] leaves."""
    guest = laboratory.guest(name)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(guest.directory / "console"))
    say("Ctrl-] leaves")
    connection.sendall(b"\n")
    with raw_terminal():
        while True:
            ready = select.select([connection, sys.stdin], [], [])[0]
            if connection in ready:
                chunk = connection.recv(4096)
                if not chunk:
                    break
                os.write(1, chunk)
            if sys.stdin in ready:
                typed = os.read(0, 4096)
                if not typed or ESCAPE in typed:
                    break
                connection.sendall(typed)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key goes through at once, until the end; no terminal is fine too."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@lab.command()
@click.argument("name")
@click.pass_obj
def kill(laboratory: Laboratory, name: str) -> None:
    """Cut a director's power."""
    laboratory.kill(name)


@lab.command()
@click.argument("name")
@click.pass_obj
def boot(laboratory: Laboratory, name: str) -> None:
    """Give a director its power back, and start its daemon."""
    laboratory.boot(name, say)


@lab.command()
@click.argument("groups", nargs=-1, metavar="A B...")
@click.pass_obj
def cut(laboratory: Laboratory, groups: tuple[str, ...]) -> None:
    """Cut the network between nodes, on all segments, both ways.

    Each argument is a node or several with commas: `cut walter wendy,wanda` leaves walter
    alone among the directors, while the client and the real servers still reach everybody.
    """
    if len(groups) < 2:
        raise click.UsageError("cut needs two nodes, or groups of nodes, or more")
    laboratory.cut([group.split(",") for group in groups])


@lab.command()
@click.pass_obj
def heal(laboratory: Laboratory) -> None:
    """Undo every cut."""
    laboratory.heal()


@lab.command()
@click.pass_obj
def down(laboratory: Laboratory) -> None:
    """End the lab and leave nothing of it, also after a crash."""
    laboratory.down()


def main() -> None:
    """Run, and turn errors into one line each."""
    try:
        lab(prog_name="lab")
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(USAGE if isinstance(error, topology.UnknownNodeError) else FAILED)


if __name__ == "__main__":
    main()
