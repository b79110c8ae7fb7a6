# SPDX-License-Identifier: GPL-2.0-or-later
"""How a rule is taken out of the core: one of its functions is another for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

Plant = Callable[[], contextlib.AbstractContextManager[object]]


def instead(owner: object, **functions: Any) -> Plant:
    """Those functions of `owner` are these for a while."""

    def plant() -> contextlib.AbstractContextManager[object]:
        patch: contextlib.AbstractContextManager[object] = mock.patch.multiple(owner, **functions)
        return patch

    return plant


def together(*plants: Plant) -> Plant:
    """All of these at the same time."""

    @contextlib.contextmanager
    def plant() -> Any:
        with contextlib.ExitStack() as stack:
            for each in plants:
                stack.enter_context(each())
            yield

    return plant
