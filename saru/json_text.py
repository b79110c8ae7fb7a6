# SPDX-License-Identifier: GPL-2.0-or-later
"""A struct as JSON that people can read and programs can parse."""

from __future__ import annotations

import msgspec


def json_text(struct: object) -> str:
    """Indented JSON without a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(struct), indent=2).decode()
