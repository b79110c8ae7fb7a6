# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon that hears another one under its name may hold nothing, whatever its rules are."""

from saru.daemon.namesake import Namesake

SILENCE = 1000
HEARD = (False, "another daemon called walter is heard from 10.0.0.9")


class Core:
    """What the core was told last."""

    def __init__(self) -> None:
        self.told: tuple[bool, str] | None = None

    def guard(self, ok: bool, why: str) -> None:
        self.told = ok, why


def made() -> tuple[Namesake, Core]:
    core = Core()
    return Namesake("walter", SILENCE, core.guard), core


def test_without_a_namesake_the_guards_word_counts() -> None:
    namesake, core = made()
    namesake.tick(5)
    assert core.told is None
    for word in ((True, "rules in place"), (False, "rules gone")):
        namesake.guarded(*word)
        assert core.told == word


def test_while_it_is_heard_nothing_is_held() -> None:
    namesake, core = made()
    namesake.guarded(True, "rules in place")
    namesake.heard("10.0.0.9", 100)
    assert (core.told, namesake.address) == (HEARD, "10.0.0.9")
    namesake.guarded(True, "rules back")
    namesake.heard("10.0.0.9", 500)
    namesake.tick(500 + SILENCE - 1)
    assert core.told == HEARD
    namesake.tick(500 + SILENCE)
    assert (core.told, namesake.address) == ((True, "rules back"), "")


def test_after_it_the_rules_may_be_missing() -> None:
    namesake, core = made()
    namesake.heard("10.0.0.9", 100)
    namesake.guarded(False, "rules gone")
    assert core.told == HEARD
    namesake.tick(100 + SILENCE)
    assert core.told == (False, "rules gone")
