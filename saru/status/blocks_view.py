# SPDX-License-Identifier: GPL-2.0-or-later
"""`saru blocks` as a picture: a letter per block, in 80 columns, with or without colour."""

from __future__ import annotations

import string
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from saru.status import Division, duration

ROW = 64  # cells a line
CELLS_MAX = 1024  # with more blocks a cell stands for several
AGES_MAX = 3  # how many ages of a director's blocks are listed
LETTERS = string.ascii_uppercase + string.digits
NOBODY = "."
SOME_UNHELD = "!"
STYLES = ("green", "blue", "magenta", "cyan", "yellow", "bright_green", "bright_blue")
UNHELD_STYLE = "bold red"


def show(division: Division, console: Console) -> None:
    """Print the picture of one id and its legend."""
    holders = _holders(division)
    names = sorted({name for name in holders if name is not None})
    # Past 36 directors letters come again; the colour then tells them apart, and --json does.
    letters = {name: LETTERS[place % len(LETTERS)] for place, name in enumerate(names)}
    styles = {name: STYLES[place % len(STYLES)] for place, name in enumerate(names)}
    size = max(1, division.blocks // CELLS_MAX)
    console.print(
        Text(f"id {division.id}: {division.blocks} blocks, version {division.version or 'none'}"),
        style="bold",
    )
    for start in range(0, len(holders), ROW * size):
        line = Text(f"{start:>6} ", "dim")
        for first in range(start, min(start + ROW * size, len(holders)), size):
            line.append(*_cell(holders[first : first + size], letters, styles))
        console.print(line)
    if size > 1:
        console.print(
            f"A letter is {size} blocks: who holds most of them, in lower case if others hold\n"
            f"some; {SOME_UNHELD} if nobody holds some.",
            style="dim",
        )
    console.print(_legend(division, letters, styles))


def _holders(division: Division) -> list[str | None]:
    """The holder of each block, by the runs, which have no gaps."""
    return [run.holder for run in division.runs for _ in range(run.first, run.last + 1)]


def _cell(
    holders: list[str | None], letters: dict[str, str], styles: dict[str, str]
) -> tuple[str, str]:
    counts = Counter(holders)
    if None in counts:
        return (NOBODY if len(counts) == 1 else SOME_UNHELD), UNHELD_STYLE
    ((most, _),) = counts.most_common(1)
    assert most is not None
    letter = letters[most] if len(counts) == 1 else letters[most].lower()
    return letter, styles[most]


def _legend(division: Division, letters: dict[str, str], styles: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 1))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for name, letter in letters.items():
        table.add_row(Text(letter, styles[name]), name, *_count_and_ages(division, name))
    if division.unheld:
        table.add_row(
            Text(NOBODY, UNHELD_STYLE), Text("nobody", "red"), *_count_and_ages(division, None)
        )
    return table


def _count_and_ages(division: Division, holder: str | None) -> tuple[str, str]:
    """How many blocks, and how many of them for how long, the longest first."""
    ages: Counter[int] = Counter()
    for run in division.runs:
        if run.holder == holder:
            ages[run.since_ms] += run.last - run.first + 1
    listed = sorted(ages.items(), reverse=True)
    if len(listed) == 1:
        said = f"for {duration(listed[0][0])}"
    else:
        shown = listed[:AGES_MAX] if len(listed) <= AGES_MAX else listed[: AGES_MAX - 1]
        said = ", ".join(f"{count} for {duration(age)}" for age, count in shown)
        rest = listed[len(shown) :]
        if rest:
            count = sum(count for _, count in rest)
            said += f", {count} for {duration(rest[0][0])} or less"
    return f"{ages.total()} blocks", said
