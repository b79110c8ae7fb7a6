# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of blocks as people write them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saru import ranges


@pytest.mark.parametrize(
    ("text", "bitmap"),
    [
        ("all", 0xFFFF),
        ("none", 0),
        ("0", 1),
        ("15", 0x8000),
        ("0-3,8", 0x10F),
        ("8, 0-3", 0x10F),
        ("0-3,2-5", 0x3F),
        ("0-15", 0xFFFF),
    ],
)
def test_parse(text: str, bitmap: int) -> None:
    assert ranges.parse(text, 16) == bitmap


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("16", "16 is beyond the last block, 15"),
        ("3-16", "16 is beyond the last block, 15"),
        ("5-3", "'5-3' runs backwards; write 3-5"),
        ("", "'' is no block and no range; write 0-511,600 or all or none"),
        ("1,", "'' is no block and no range; write 0-511,600 or all or none"),
        ("-1", "'-1' is no block and no range; write 0-511,600 or all or none"),
        ("0x3", "'0x3' is no block and no range; write 0-511,600 or all or none"),
        ("\u0661", "'\u0661' is no block and no range; write 0-511,600 or all or none"),
    ],
)
def test_parse_refuses(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        ranges.parse(text, 16)


@given(st.sets(st.integers(0, 65535)))
def test_text_parses_back_and_runs_are_the_members(blocks: set[int]) -> None:
    bitmap = sum(1 << block for block in blocks)
    assert ranges.parse(ranges.text(bitmap), 65536) == bitmap
    runs = ranges.runs(bitmap)
    assert [b for first, last in runs for b in range(first, last + 1)] == sorted(blocks)
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(runs))


def test_text() -> None:
    assert ranges.text(0) == "none"
    assert ranges.text(0x10F) == "0-3,8"
