# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: parse, call, print.

Everything but click is imported when a command needs it: on a slow machine most of a command's
time is imports. Exit status: 0 it worked, 1 it failed, 2 the command line or configuration is
wrong. Errors are one line each on standard error, `saru: …`.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from saru import __version__
from saru.errors import SaruError

FAILED, USAGE = 1, 2

# name: (module of saru.commands, what `saru --help` says of it)
COMMANDS = {
    "status": ("status", "Directors, state, blocks, master, quorum, and what is wrong."),
    "blocks": ("blocks", "Who holds each block, since when, as a picture."),
    "table": ("table", "The kernel's tables, by hand, without a daemon."),
    "drain": ("planned", "Hand a director's blocks over to the others."),
    "undrain": ("planned", "Give a drained director blocks again."),
    "weight": ("planned", "Change a director's weight."),
    "leave": ("planned", "Hand this director's blocks over, and end its daemon."),
    "pause": ("pause", "End the daemon for a restart: the blocks stay."),
    "reload": ("reload", "Read the authkeys file again."),
    "rules": ("rules", "The packet filter's rules: show, apply, check, remove."),
    "link": ("link", "The shared MAC and address on an interface: up, down."),
    "config": ("config", "Check a configuration file."),
}


class Group(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """The command of this name; each module of saru.commands has it under its own name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"saru.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Log every detail; to the terminal, unless told where.")
@click.option(
    "--log_facility",
    "--log-facility",
    metavar="WHERE",
    help="Log to - (the terminal), a path, or a syslog facility such as local0.",
)
@click.option(
    "--join_delay",
    "--join-delay",
    metavar="TIME",
    help="Take blocks from live directors only after this time (default: 30s).",
)
@click.option(
    "--witness",
    is_flag=True,
    help="Run as a voter that holds no blocks, and not at all unless cluster.witnesses says so.",
)
@click.option(
    "--prepare",
    is_flag=True,
    help="Do first what `rules apply` and `link up` do.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration (default: /etc/saru/saru.conf).",
)
@click.version_option(__version__, "--version", "-V", message="saru %(version)s")
@click.pass_context
def saru(
    ctx: click.Context,
    debug: bool,
    log_facility: str | None,
    join_delay: str | None,
    witness: bool,
    prepare: bool,
    config: Path | None,
) -> None:
    """Several directors serve one virtual IP; never two accept the same block.

    Without a command: run the daemon in the foreground.
    """
    if ctx.invoked_subcommand is None:
        _run_daemon(debug, log_facility, join_delay, witness, prepare, config)
    elif debug or log_facility is not None or join_delay is not None or witness or prepare:
        raise click.UsageError(
            "--debug, --log_facility, --join_delay, --witness and --prepare are for the daemon; "
            f"leave them out before {ctx.invoked_subcommand!r}"
        )


def _run_daemon(
    debug: bool,
    log_facility: str | None,
    join_delay: str | None,
    witness: bool,
    prepare: bool,
    path: Path | None,
) -> None:
    from saru import config
    from saru.daemon import service

    given = {} if join_delay is None else {"times": {"join_delay": join_delay}}
    loaded = config.load(path, given=given)
    if witness:
        loaded.must_be_witness()
    service.run(loaded, debug, log_facility, prepare=prepare)


def main() -> NoReturn:
    """The console script: run what the command line says, and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do what the arguments say and return the exit status; prints what is wrong."""
    try:
        status = saru.main(args=arguments, prog_name="saru", standalone_mode=False)
        if sys.stdout is not None:  # it is None where it was closed
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:  # what click makes of Ctrl-C
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except click.ClickException as error:
        return _usage(error)
    except SaruError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        # Whoever read us has gone; flushing the rest at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}")
        return FAILED
    return status if isinstance(status, int) else 0


def _usage(error: click.ClickException) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(error.format_message(), err=True)
        return USAGE
    text = error.format_message().rstrip(".")
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "saru"
    _complain(f"{text[:1].lower()}{text[1:]} (see: {command} --help)")
    return USAGE


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"saru: {line}", file=sys.stderr)
