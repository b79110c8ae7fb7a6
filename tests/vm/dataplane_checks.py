# SPDX-License-Identifier: GPL-2.0-or-later
"""Run inside a guest: every promise of the data plane `module`, against the real kernel.

Prints one JSON object: for each check null, or the trace of what failed; and figures.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import traceback

from saru.dataplane.module import NOT_LOADED, Module
from saru.errors import OutageError
from tests import dataplane_checks as shared
from tests.dataplane_checks import SECOND, Subject, now, refused, table


def command(words: str) -> None:
    """Run a command; nothing else happens meanwhile."""
    subprocess.run(words.split(), check=True)


def rule(what: str, id_: int) -> None:
    command(f"iptables-legacy {what} INPUT -m saru --id {id_} -p tcp -j ACCEPT")


def remove_module() -> None:
    """Namespaces of other tests, with rules in them, end in a worker of the kernel's."""
    until = now() + 60 * SECOND
    while subprocess.run(["rmmod", "xt_saru"]).returncode:
        assert now() < until, "the module stays in use"
        time.sleep(0.1)


async def without_the_module_it_is_an_outage(subject: Subject) -> None:
    """The last of all: takes the module away."""
    plane = subject.plane
    for state in await plane.tables():
        await plane.delete(state.id)
    remove_module()
    await refused(OutageError, NOT_LOADED, plane.get(1))
    await refused(OutageError, NOT_LOADED, plane.renew(1, table(1, 1).version, now()))
    await refused(OutageError, NOT_LOADED, Module().open())


CHECKS = {
    **shared.CHECKS,
    "without_the_module_it_is_an_outage": without_the_module_it_is_an_outage,
}


async def main() -> None:
    results: dict[str, str | None] = {}
    plane = Module()
    await plane.open()
    named: list[int] = []

    def name_id(id_: int) -> None:
        rule("-A", id_)
        named.append(id_)

    subject = Subject(
        plane,
        name_id,
        lambda: rule("-D", named.pop()),
        counts_packets=True,
        flood=(1200, 2),
    )
    for name, check in CHECKS.items():
        try:
            await check(subject)
        except BaseException:  # noqa: BLE001  whatever it is, it is this check's result
            results[name] = traceback.format_exc()
        else:
            results[name] = None
    await plane.close()
    print(json.dumps({"checks": results, "figures": shared.figures}))


if __name__ == "__main__":
    asyncio.run(main())
