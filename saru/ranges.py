# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of blocks as people write them: `0-511,600`, `all`, `none`. Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def parse(text: str, blocks: int) -> int:
    """The bitmap of `text` among `blocks` blocks; ValueError says what is wrong with it."""
    if text == "all":
        return (1 << blocks) - 1
    if text == "none":
        return 0
    bitmap = 0
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part!r} is no block and no range; write 0-511,600 or all or none")
        first = int(match[1])
        last = int(match[2] or first)
        if first > last:
            raise ValueError(f"{part!r} runs backwards; write {last}-{first}")
        if last >= blocks:
            raise ValueError(f"{last} is beyond the last block, {blocks - 1}")
        bitmap |= (1 << last + 1) - (1 << first)
    return bitmap


def runs(bitmap: int) -> list[tuple[int, int]]:
    """The runs of neighbouring blocks in a bitmap, as (first, last), in ascending order."""
    found = []
    for run in re.finditer("1+", f"{bitmap:b}"[::-1]):
        found.append((run.start(), run.end() - 1))
    return found


def text(bitmap: int) -> str:
    """A bitmap as `parse` reads it back, with ranges as long as they come; `none` if empty."""
    return (
        ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs(bitmap))
        or "none"
    )
