# SPDX-License-Identifier: GPL-2.0-or-later
"""Ensembles of real ZooKeeper servers without directors, and what tests do with a session."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from deploy.lab import topology
from deploy.lab.network import Network
from deploy.lab.zookeeper import Ensemble
from saru.config.duration import MS
from saru.config.tree import Zookeeper

T = TypeVar("T")
PATIENCE = 30.0
LOOK = 0.01


@contextmanager
def ensemble(servers: int, more: Mapping[str, object] | None = None) -> Iterator[Ensemble]:
    """So many servers that serve."""
    name = f"saru-zk-{uuid.uuid4().hex[:6]}"
    network, directory = Network(name), Path("/run") / name
    names = topology.ZOOKEEPERS[:servers]
    made = Ensemble(network, directory, servers, more)
    try:
        network.make((), map(topology.zookeeper, names))
        made.up()
        yield made
    finally:
        network.remove()
        made.down()


def settings(made: Ensemble, timeout: int = 400 * MS, **other: Any) -> Zookeeper:
    """[zookeeper] for an ensemble; `timeout` in ns."""
    values: dict[str, Any] = {"failsafe": False, "digest": None, "tls": None, **other}
    return Zookeeper(hosts=tuple(made.hosts), session_timeout=timeout, root="/saru", **values)


async def until(what: str, so: Callable[[], object]) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not so():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE} s in vain: {what}") from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, in the end."""

    async def limited() -> T:
        async with asyncio.timeout(2 * PATIENCE):
            return await work

    return asyncio.run(limited())
