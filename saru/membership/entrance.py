# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether ZooKeeper can be had at all: looked at before the daemon begins.

kazoo tries on for ever and says little of why. So what a configuration may have wrong is found out
here, once: no such host, nobody there, no TLS or the wrong one, znodes that are somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from saru.config.duration import SECOND
from saru.config.tree import Zookeeper
from saru.errors import OutageError, SaruError
from saru.membership import access
from saru.membership.keeper import Keeper
from saru.membership.znode import DeniedError, LostError, Tie

PATIENCE = 5.0
"""Seconds that servers are waited for at least: an ensemble that has just begun elects a leader."""


async def enter(zookeeper: Zookeeper, paths: tuple[str, ...]) -> None:
    """Make persistent znodes where they are missing. Raises ConfigError for files that cannot be
    used, OutageError if no server serves us, SaruError if the znodes are not ours."""
    auth = access.credentials(zookeeper)
    context = access.tls_context(zookeeper.tls) if zookeeper.tls else None
    news = asyncio.Event()
    keeper = Keeper(zookeeper, auth, lambda _: news.set(), int(2 * PATIENCE * SECOND))
    keeper.open()
    patience = max(PATIENCE, 2 * zookeeper.session_timeout / SECOND)
    try:
        async with asyncio.timeout(patience):
            while not await _made(keeper, paths):
                await news.wait()
                news.clear()
    except TimeoutError:
        reasons = [f"{host}: {await _why(host, context)}" for host in zookeeper.hosts]
        raise OutageError(
            f"no ZooKeeper server serves this director after {patience:.3g} s; mend that, or "
            "zookeeper.hosts: " + "; ".join(reasons)
        ) from None
    except DeniedError:
        raise SaruError(_denied(zookeeper)) from None
    finally:
        await keeper.close(1.0)


async def _made(keeper: Keeper, paths: tuple[str, ...]) -> bool:
    """Make the znodes; False if the connection went meanwhile."""
    if keeper.tie is not Tie.CONNECTED:
        return False
    try:
        for path in paths:
            await keeper.ensure(path)
            await keeper.children(path)  # what was there may be closed to us
    except LostError:
        return False
    return True


def _denied(zookeeper: Zookeeper) -> str:
    who = f"the USER:PASSWORD in {zookeeper.digest}" if zookeeper.digest else "nobody in particular"
    return (
        f"ZooKeeper refuses {zookeeper.root} and what is under it to {who}: those who made it have "
        "another zookeeper.digest; use theirs, or name another zookeeper.root"
    )


async def _why(host: str, context: ssl.SSLContext | None) -> str:
    """What one finds who knocks at a server's door."""
    name, _, port = host.rpartition(":")
    name = name.strip("[]")
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                name, int(port), ssl=context, server_hostname=name if context else None
            )
            try:
                writer.write(b"srvr")
                said = await reader.read(4096)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except socket.gaierror:
        return "there is no host of that name"
    except ssl.SSLCertVerificationError as fault:
        return f"its certificate is refused: {fault.verify_message}"
    except ssl.SSLError as fault:
        return f"does not speak TLS with us: {fault.reason or fault}"
    except TimeoutError:
        return "does not answer"
    except OSError as fault:
        return fault.strerror or str(fault) or "hangs up: does it speak TLS?"
    return _heard(said, tls=context is not None)


def _heard(said: bytes, *, tls: bool) -> str:
    if b"not currently serving" in said:
        return "is not serving: its ensemble has no quorum"
    if said or tls:
        return "answers, but gives no session"
    return "hangs up: does it want TLS (zookeeper.tls), or is it no ZooKeeper server?"
