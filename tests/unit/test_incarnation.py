# SPDX-License-Identifier: GPL-2.0-or-later
"""The incarnation grows with every start and is never used twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from saru.core.term import INCARNATION_MAX
from saru.errors import SaruError
from saru.state.incarnation import next_incarnation


def test_it_starts_at_one_and_grows(tmp_path: Path) -> None:
    state = tmp_path / "lib" / "saru"
    assert [next_incarnation(state, "saru") for _ in range(3)] == [1, 2, 3]
    assert next_incarnation(state, "second") == 1
    assert sorted(path.name for path in state.iterdir()) == [
        "saru.incarnation",
        "second.incarnation",
    ]


def test_a_write_that_a_power_cut_broke_off_does_no_harm(tmp_path: Path) -> None:
    next_incarnation(tmp_path, "saru")
    (tmp_path / "saru.incarnation.new").write_text("")
    assert next_incarnation(tmp_path, "saru") == 2


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"-1\n", b"1.5\n", b"seven\n", b"16777216\n", b"1" * 100, b"\xff\n"]
)
def test_a_damaged_counter_is_an_error_with_its_mend_and_stays(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "saru.incarnation"
    path.write_bytes(content)
    with pytest.raises(SaruError) as caught:
        next_incarnation(tmp_path, "saru")
    assert str(caught.value) == (
        f"{path} is damaged: it should hold one number from 1 to 16777215; write one "
        "above every incarnation of this director that the others' `saru status` shows"
    )
    assert path.read_bytes() == content


def test_the_last_incarnation_and_the_one_after(tmp_path: Path) -> None:
    path = tmp_path / "saru.incarnation"
    path.write_text(f"{INCARNATION_MAX - 1}\n")
    assert next_incarnation(tmp_path, "saru") == INCARNATION_MAX
    with pytest.raises(SaruError, match="all 16777215 incarnations are used up; give this"):
        next_incarnation(tmp_path, "saru")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaruError, match=r"cannot keep the incarnation in .*/file/saru.incarnation"):
        next_incarnation(tmp_path / "file", "saru")
