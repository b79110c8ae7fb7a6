# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol's model, `saru/core/model`, checked by spin: every run within the bounds.

An instance is a list of macros; what they mean stands in the model. A search proves something only
if it was complete: it ended, nothing was cut off, and every state was kept in full. Counts are
among a run's figures; no time is judged.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.lab.cache import PROJECT

MODEL = PROJECT / "saru" / "core" / "model" / "never_two.pml"
MEMORY = 3500  # MB, for one search
DEPTH = 1_000_000  # steps
# Whether the model's own arrays are used within their bounds is checked in the other searches: that
# takes a third of the time.
FAST = ("-O2", "-DNOBOUNDCHECK")

# What is looked at completely, in every run of the tests.
PROVED = {
    "a fenced director comes back, a term change": "VERSIONS=2 LAPSES=1",
    "two blocks": "BLOCKS=2 VERSIONS=2 LAPSES=0",
    "two blocks, beats under way": "BLOCKS=2 VERSIONS=2 LAPSES=0 DELAY",
    "two blocks, beats under way, a fenced director comes back": (
        "BLOCKS=2 VERSIONS=1 LAPSES=1 DELAY"
    ),
    "beats under way, kernels that take their time": "VERSIONS=1 LAPSES=1 DELAY TWO_PHASE",
    "kernels that take their time, more versions": "VERSIONS=2 LAPSES=0 TWO_PHASE",
    "the old master is fenced and comes back": "FENCEABLE=1 HOLDER=0 VERSIONS=1 LAPSES=1",
    "the old master is fenced, more versions": "FENCEABLE=1 HOLDER=0 VERSIONS=2 LAPSES=0",
    "the old master or another is fenced": "FENCEABLE=5 VERSIONS=1 LAPSES=1",
    "anybody is fenced": "FENCEABLE=7 VERSIONS=1 LAPSES=0 STANDERS=7",
    "a restart and a lapse": "VERSIONS=1 LAPSES=1 RESTARTS=1",
    "a farewell and a restart": "VERSIONS=1 LAPSES=0 RESTARTS=1 FAREWELLS=1 RESTARTERS=4",
    "a cold start": "COLD STANDERS=7 VERSIONS=1 LAPSES=0",
    "three terms": "TERMS=3 STANDERS=7 VERSIONS=1 LAPSES=0",
    "a finer time": "L=3 VERSIONS=1 LAPSES=1",
}

# What takes longer: looked at too where SARU_MODEL_WIDE is set.
WIDE = {
    "two blocks, beats under way, kernels that take their time": (
        "BLOCKS=2 VERSIONS=1 LAPSES=1 DELAY TWO_PHASE"
    ),
    "a restart, more versions": "VERSIONS=2 LAPSES=0 RESTARTS=1 RESTARTERS=4",
}
LOOKED_AT = PROVED | WIDE if os.environ.get("SARU_MODEL_WIDE") else PROVED

# Without the rule, two kernels accept a block.
MISSED = {
    "R2 sending time": "FROM_RECEIPT",
    "R3 lapse": "NO_LAPSE",
    "R4 no way back": "GO_BACK",
    "R5 own term": "ANY_TERM",
    "R5 report": "NO_REPORT",
    "R5 report in this term": "REPORT_ANY_TERM COLD STANDERS=7",
    "R5 unacknowledged versions": "NO_UNACKNOWLEDGED",
    "R5 two steps": "ONE_STEP",
    "R5 report after SET has returned": "EARLY_REPORT TWO_PHASE",
    "R6 silence": "NO_SILENCE",
    "R6 promise": "NO_PROMISE",
    "R6 promise bars newer sessions": "NO_BAR",
    "R6 one of the promises": "ONE_PROMISE",
    "R6 freshness": "NO_FRESHNESS",
    "R6 farewell in time": "REMEMBERED_FAREWELL FAREWELLS=1 RESTARTS=1 RESTARTERS=4 L=1 LAPSES=0",
    "R7 deadline": "NO_DEADLINE",
    "R8 wait": "NO_WAIT RESTARTS=1 LAPSES=0 VERSIONS=1",
}

# What the model can do: an invariant over a model that stands still would be no news.
REACHED = {
    "another director has a fenced one's block": "GOAL=TAKEOVER",
    "one that lapsed holds again in the next term": "GOAL=RETURN",
    "one that was restarted holds again": "GOAL=RETURN LAPSES=0 RESTARTS=1",
    "a block moves though nobody lapsed": "GOAL=MOVE LAPSES=0 L=1",
}


def search(macros: str, where: Path, how: tuple[str, ...] = ("-O0",), depth: int = DEPTH) -> str:
    """What the checker says of an instance. Fails where spin or the compiler does.

    `how` it is compiled: `FAST` pays for the long searches alone.
    """
    defined = [f"-D{macro}" for macro in shlex.split(macros)]
    limits = [f"-DMEMLIM={MEMORY}", "-DSAFETY", "-DVECTORSZ=512"]
    run(where, "spin", "-a", *defined, str(MODEL))
    run(where, "cc", *how, *limits, "-o", "pan", "pan.c")
    begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    said = run(where, "./pan", "-n", f"-m{depth}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    print(
        f"\n{macros}: {found(said, 'states, stored')} states, {found(said, 'transitions')} steps,"
    )
    print(f"{time.monotonic() - begin:.1f} s, {used:.1f} s of them on a processor")
    return said


def run(where: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=where, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"`{shlex.join(words)}` says\n{said}"
    return said


def found(said: str, what: str) -> int:
    """The number before `what`."""
    number = re.search(rf"([\d.e+]+) {what}", said)
    assert number is not None, said
    return int(float(number[1]))


def complete(said: str) -> bool:
    """Whether every run was looked at; a search by hashes alone does not call itself full."""
    cut_off = ("search not completed", "max search depth too small", "out of memory", "memlim")
    return "Full statespace search" in said and not any(way in said.lower() for way in cut_off)


@pytest.mark.parametrize("instance", LOOKED_AT)
def test_never_two(instance: str, tmp_path: Path, figures: Callable[[str], None]) -> None:
    said = search(LOOKED_AT[instance], tmp_path, how=FAST)
    figures(f"{found(said, 'states, stored')} states, {found(said, 'transitions')} steps")
    assert "errors: 0" in said, said
    assert complete(said), said


def test_a_search_cut_off_is_no_proof(tmp_path: Path) -> None:
    said = search("VERSIONS=1", tmp_path, depth=20)
    assert "errors: 0" in said
    assert not complete(said)


@pytest.mark.parametrize("rule", MISSED)
def test_a_missing_rule_is_found(rule: str, tmp_path: Path) -> None:
    said = search(MISSED[rule], tmp_path)
    assert re.search(r"assertion violated .*<=1\)", said), said
    assert (tmp_path / f"{MODEL.name}.trail").exists()


@pytest.mark.parametrize("goal", REACHED)
def test_the_model_is_alive(goal: str, tmp_path: Path) -> None:
    said = search(REACHED[goal], tmp_path)
    assert re.search(r"assertion violated +!\(", said), said
