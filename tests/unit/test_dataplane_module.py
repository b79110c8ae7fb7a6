# SPDX-License-Identifier: GPL-2.0-or-later
"""What a data plane says on a kernel that has no tables. The rest needs a guest: tests/vm."""

from __future__ import annotations

import asyncio

import pytest

from saru.dataplane.module import NOT_LOADED, Module
from saru.errors import OutageError


def test_a_kernel_without_the_module_is_an_outage_with_its_mend() -> None:
    async def attempt() -> None:
        module = Module()
        try:
            await module.open()
        finally:
            await module.close()

    with pytest.raises(OutageError, match="modprobe xt_saru") as caught:
        asyncio.run(attempt())
    assert str(caught.value) == NOT_LOADED
