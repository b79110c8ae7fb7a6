# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's local socket: one request, one answer, one connection.

Both are a line of JSON. A request names what it asks for; the answer is the struct asked for under
"answer", or a text under "error". Only root may connect: the socket has mode 600.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from saru.errors import OutageError, SaruError, UsageError

T = TypeVar("T")

Arguments = Mapping[str, Any]
Answerer = Callable[[Arguments], Awaitable[msgspec.Struct | None]]

REQUEST_MAX = 64 * 1024  # bytes
REQUEST_TIMEOUT = 10.0  # seconds; a client that says nothing, or takes nothing, is let go
CLIENTS_MAX = 64  # at a time; each has a file open, and the kernel's tables and roads need some
PATH_MAX = 107  # bytes; what the kernel takes for a socket's name
OWNER_ONLY = 0o177

log = logging.getLogger("saru.control")


class Request(msgspec.Struct, frozen=True):
    """What a client asks for, with its arguments."""

    ask: str
    arguments: dict[str, Any] = {}


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer, or what is wrong and the exit status that belongs to it."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    exit_status: int = 1


def socket_path(run: Path, cluster: str) -> Path:
    """Where the daemon of `cluster` answers."""
    return run / f"{cluster}.sock"


class Control:
    """The daemon's end. Start it under the daemon's lock: a socket found there is a dead one's."""

    def __init__(self, path: Path, answerers: Mapping[str, Answerer]) -> None:
        self._path = path
        self._answerers = answerers
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises SaruError if that is impossible."""
        if len(os.fsencode(self._path)) > PATH_MAX:
            raise SaruError(
                f"{self._path}: too long for a socket ({PATH_MAX} bytes); shorten daemon.run"
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            mask = os.umask(OWNER_ONLY)
            try:
                listener.bind(os.fspath(self._path))
            finally:
                os.umask(mask)
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listener, limit=REQUEST_MAX
            )
        except OSError as error:
            listener.close()
            raise SaruError(f"cannot listen at {self._path}: {error.strerror}") from None

    async def stop(self) -> None:
        """Stop listening, break off what is under way and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= CLIENTS_MAX:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                try:
                    line = await reader.readline()
                except ValueError:  # longer than the limit
                    line = b"too long"
            if line:
                # For as long as it takes: an answer may be that something has come about.
                writer.write(msgspec.json.encode(await self._respond(line)) + b"\n")
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    await writer.drain()

    async def _respond(self, line: bytes) -> Response:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (ValueError, RecursionError) as error:  # also what is no UTF-8, or too deep
            return Response(error=f"the daemon does not understand the request: {error}")
        answerer = self._answerers.get(request.ask)
        if answerer is None:
            return Response(error=f"the daemon does not know {request.ask!r}")
        try:
            answer = await answerer(request.arguments)
        except SaruError as error:
            return Response(error=str(error), exit_status=error.exit_status)
        except Exception:
            # A fault in one answer must not end a daemon that holds blocks.
            log.exception("the answer to %r failed", request.ask)
            return Response(error=f"the daemon failed to answer {request.ask!r}: see its log")
        return Response(answer=msgspec.Raw(msgspec.json.encode(answer)))


def arguments_as(arguments: Arguments, type_: type[T]) -> T:
    """A request's arguments as a struct. Raises UsageError for those that are not."""
    try:
        return msgspec.convert(arguments, type_)
    except msgspec.ValidationError as error:
        raise UsageError(f"the daemon does not understand the request: {error}") from None


class DaemonError(SaruError):
    """What the daemon said to a request that it does not grant."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status


def ask(path: Path, type_: type[T], what: str, *, timeout: float = 5.0, **arguments: Any) -> T:
    """Ask the daemon at `path`; it may be silent for `timeout` seconds.

    Raises OutageError if no daemon answers, DaemonError with its words if it refuses.
    """
    request = msgspec.json.encode(Request(what, arguments)) + b"\n"
    try:
        received = _exchange(path, request, timeout)
    except (FileNotFoundError, ConnectionRefusedError):
        raise OutageError(f"no daemon answers at {path} (start it: systemctl start saru)") from None
    except PermissionError:
        raise OutageError(f"may not connect to {path} (run it as root)") from None
    except TimeoutError:
        raise OutageError(
            f"the daemon at {path} did not answer within {timeout:g} s (it is stopped or hangs)"
        ) from None
    except OSError as error:
        raise OutageError(f"the daemon at {path} broke off: {error.strerror or error}") from None
    try:
        response = msgspec.json.decode(received, type=Response)
        if response.error is not None:
            raise DaemonError(response.error, response.exit_status)
        return msgspec.json.decode(response.answer, type=type_)
    except ValueError:  # msgspec's, or a UnicodeDecodeError
        raise OutageError(
            f"the daemon at {path} gave no proper answer (is it of another version?)"
        ) from None


def _exchange(path: Path, request: bytes, timeout: float) -> bytes:
    parts = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        connection.sendall(request)
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)
