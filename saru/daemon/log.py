# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the daemon's log goes.

`--log_facility` says where: `-` is the terminal, a path a file, a name a syslog facility. Without
it `--debug` logs to the terminal; otherwise the configuration's `log.facility` decides, and its
default `daemon` means the journal under systemd.
"""

from __future__ import annotations

import enum
import logging
import logging.handlers
import os
import queue
import socket
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from saru.config.sections import FACILITIES
from saru.errors import SaruError, UsageError

TERMINAL = "-"
DEFAULT_FACILITY = "daemon"
SYSLOG = "/dev/log"


class Kind(enum.Enum):
    """The kinds of places a log can go to."""

    TERMINAL = enum.auto()
    FILE = enum.auto()
    SYSLOG = enum.auto()
    JOURNAL = enum.auto()


class Destination(msgspec.Struct, frozen=True):
    """A place for the log; `name` is the file's path or the syslog facility.

    `asked`: somebody named it on the command line, so it is that place or none.
    """

    kind: Kind
    name: str = ""
    asked: bool = False


def destination(
    given: str | None, *, debug: bool, configured: str, environment: Mapping[str, str]
) -> Destination:
    """Where to log: `given` is --log_facility, `debug` --debug, `configured` the key log.facility.

    Raises UsageError for a facility that syslog does not have.
    """
    if given is None and debug:
        return Destination(Kind.TERMINAL)
    name = configured if given is None else given
    if name == TERMINAL:
        return Destination(Kind.TERMINAL)
    if "/" in name:
        return Destination(Kind.FILE, name, given is not None)
    if name not in FACILITIES:
        raise UsageError(
            f"{name!r} is no syslog facility; write -, a path, or one of {', '.join(FACILITIES)}"
        )
    if given is None and name == DEFAULT_FACILITY and "JOURNAL_STREAM" in environment:
        return Destination(Kind.JOURNAL)
    return Destination(Kind.SYSLOG, name, given is not None)


class _JournalFormatter(logging.Formatter):
    """Lines as the journal reads them from a service: <priority>, no time of its own."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_priority(record.levelno)}>"
        return "\n".join(priority + line for line in super().format(record).splitlines())


def _priority(level: int) -> int:
    """A level as syslog's priority: 3 error, 4 warning, 6 info, 7 debug."""
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7


class _Syslog(logging.handlers.SysLogHandler):
    """Syslog over its socket; when nobody listens there, the line goes to the terminal."""

    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        if isinstance(sys.exc_info()[1], OSError):
            sys.stderr.write(f"saru: syslog does not answer: {self.format(record)}\n")
        else:
            super().handleError(record)


def set_up(where: Destination, *, debug: bool) -> None:
    """Send all of this process's log there; with `debug` everything, else INFO and above.

    A host without syslog gets its log on the terminal, unless syslog was asked for by name. Raises
    SaruError if the place cannot be opened.
    """
    missing = ""
    try:
        handler = _handler(where)
    except SaruError as error:
        if where.kind is not Kind.SYSLOG or where.asked:
            raise
        handler = _handler(Destination(Kind.TERMINAL))
        missing = str(error)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # libraries speak up when something is wrong, not before
    logging.getLogger("saru").setLevel(logging.DEBUG if debug else logging.INFO)
    if missing:
        logging.getLogger("saru.daemon.log").warning("%s", missing)


async def aside(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, and let a thread write what it logs.

    A disk or a syslog that does not answer for a while must not keep the beats back.
    """
    root = logging.getLogger()
    handlers = root.handlers[:]
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    writer = logging.handlers.QueueListener(lines, *handlers)
    writer.start()
    root.handlers[:] = [logging.handlers.QueueHandler(lines)]
    try:
        await work
    finally:
        root.handlers[:] = handlers
        writer.stop()  # when all is written


def _handler(where: Destination) -> logging.Handler:
    handler: logging.Handler
    timed = "%(asctime)s.%(msecs)03d %(levelname)-7s %(message)s"
    try:
        match where.kind:
            case Kind.TERMINAL:
                handler = logging.StreamHandler(sys.stderr)
                handler.setFormatter(logging.Formatter(timed, "%H:%M:%S"))
            case Kind.FILE:
                handler = logging.handlers.WatchedFileHandler(where.name)
                handler.setFormatter(logging.Formatter(timed, "%Y-%m-%d %H:%M:%S"))
            case Kind.SYSLOG:
                handler = _syslog(where.name)
                handler.setFormatter(logging.Formatter(f"saru[{os.getpid()}]: %(message)s"))
            case Kind.JOURNAL:
                handler = logging.StreamHandler(sys.stderr)
                handler.setFormatter(_JournalFormatter("%(message)s"))
    except OSError as error:
        raise SaruError(
            f"cannot log to {where.name}: {error.strerror or error}; "
            "name another place with --log_facility"
        ) from None
    return handler


def _syslog(facility: str) -> logging.Handler:
    number = logging.handlers.SysLogHandler.facility_names[facility]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(SYSLOG)
        except OSError as error:
            raise SaruError(
                f"syslog does not answer at {SYSLOG}: {error.strerror}; start it, or name another "
                "place for the log with --log_facility (- is the terminal)"
            ) from None
    return _Syslog(SYSLOG, number)
