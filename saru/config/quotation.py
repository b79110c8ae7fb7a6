# SPDX-License-Identifier: GPL-2.0-or-later
"""A value that somebody wrote, as a part of one short line: an error must not be as long as it."""

from __future__ import annotations

LENGTH_MAX = 120  # characters of a value that are shown


def shown(value: object) -> str:
    """A value of a TOML document as it stands there, more or less."""
    try:
        text = str(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a huge number"
    return f'"{line(text)}"' if isinstance(value, str) else line(text)


def line(text: str) -> str:
    """The text without what ends lines or moves a terminal's cursor, and cut where it is long."""
    cut = text[:LENGTH_MAX] + ("…" if len(text) > LENGTH_MAX else "")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in cut)
