# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshot: its JSON, what is wrong by it, and how it looks."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from saru.status import (
    Counters,
    Guard,
    Key,
    Quorum,
    Run,
    State,
    Status,
    blocks_view,
    duration,
)
from saru.status import view as status_view
from saru.status.diagnosis import diagnose
from tests.unit.snapshots import director, division, status

NO_QUORUM = Quorum(rule="majority", voters=3, needed=2, contact=("walter",), have=False)
ALONE = Quorum(rule="none", voters=3, needed=1, contact=("walter",), have=True)


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, ()),
        (
            {"quorum": NO_QUORUM, "master": None},
            ("no quorum: 1 of 3 voters in contact, 2 needed; no blocks can be held here",),
        ),
        ({"master": None}, ("no master is heard: nobody hands out blocks",)),
        (
            {"master": None, "wait_left_ms": 10_400},
            ("the start-up wait (initdead) lasts another 10.4 s: walter does not vote before",),
        ),
        (
            {"quorum": ALONE},
            (
                'quorum is "none": directors that are cut off from each other hold the same '
                "blocks; name three or more voters in cluster.nodes to be safe",
            ),
        ),
        (
            {"guard": Guard(ok=False, state="rules missing: INPUT", vip="taken off eth0")},
            ("rules missing: INPUT: walter takes no blocks",),
        ),
        (
            {"guard": Guard(ok=True, state="", vip="", lacking=("eth0: is down", "eth0: is odd"))},
            (
                "eth0: is down (and 1 more): packets of the blocks that walter holds are lost; "
                "mend it: saru link up",
            ),
        ),
        (
            {"namesake": "10.0.0.9"},
            (
                "another daemon called walter is heard from 10.0.0.9: walter holds no blocks while "
                "it is; give each host a director.name of its own",
            ),
        ),
        ({"roads": ("eth2: is down",)}, ("eth2: is down; beats cannot go there",)),
        ({"divisions": (division(unheld=3),)}, ("id 1: nobody holds 3 of 16 blocks",)),
        (
            {"directors": (director("wendy", State.SILENT, State.FENCED, heard_ms=83_000),)},
            ("wendy has been silent for 1 min 23 s",),
        ),
        (
            {"directors": (director("wendy", State.SILENT, heard_ms=None),)},
            ("wendy has never been heard",),
        ),
        (
            {"directors": (director("wendy", State.LATE, heard_ms=2_100),)},
            ("wendy is late: last heard 2.1 s ago",),
        ),
        (
            {"directors": (director("wendy", State.REFUSED, differs=("times.deadtime", "id")),)},
            ("wendy is refused: its times.deadtime, id differ from ours",),
        ),
        (
            {"directors": (director("wendy", State.UNABLE, able=False),)},
            (
                "wendy takes no blocks: its rules are missing, no client reaches it, or another "
                "host has its name",
            ),
        ),
        (
            {"counters": Counters(forged=2)},
            ("2 beats had a wrong signature: compare authkeys, or somebody is forging them",),
        ),
    ],
)
def test_what_is_wrong(changes: dict[str, object], problems: tuple[str, ...]) -> None:
    assert diagnose(status(**changes)) == problems


def test_json_comes_back_as_it_was() -> None:
    snapshot = status(problems=("one", "two"))
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Status) == snapshot


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 0 s"),
        (3_599_000, "59 min 59 s"),
        (3_600_000, "1 h 0 min"),
        (7_500_000, "2 h 5 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_duration(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def printed(show: object, snapshot: object, *, width: int = 80) -> list[str]:
    """The lines that a view prints into a pipe, without the blanks at their ends."""
    out = io.StringIO()
    show(snapshot, Console(file=out, width=width, highlight=False))  # type: ignore[operator]
    assert "\x1b" not in out.getvalue(), "colour in a pipe"
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_whole_status() -> None:
    assert printed(status_view.show, status()) == [
        "cluster: saru",
        "  node: walter, session 7.0, up 3 min 12 s",
        "  term: 3.0.7, this node is master; master: walter",
        "  quorum: majority; 3 of 3 in contact, 2 needed",
        "  lease: 4.6 s left of 5.0 s",
        "  data plane: module",
        "  guard: rules in place; VIP left on eth0",
        "  beats: 1,234 sent, 2,345 received",
        "  configuration: /etc/saru/saru.conf",
        "",
        "director  state     weight  blocks       heard  session",
        "walter    master       100       8   this node      7.0",
        "wanda     witness        0       0  100 ms ago      1.0",
        "wendy     director     100       8  100 ms ago      1.0",
        "",
        "id 1: 16 blocks, 0 held by nobody",
        "  version: 3.0.7/12; here: 3.0.7/12",
        "  held here: 8",
        "  rules that name it: 4",
        "  packets: 123,456 accepted, 98,765 rejected, 0 expired, 2 without a key",
        "",
        "Nothing is wrong.",
    ]


def key(number: int, **lists: tuple[str, ...]) -> Key:
    """A key that walter alone accepts, unless more is given."""
    nobody = {"signing": (), "lacking": (), "differing": (), "unheard": ()}
    return Key(number=number, **{**nobody, "accepting": ("walter",), **lists})


def test_the_keys_say_who_uses_them() -> None:
    keys = (
        key(1, signing=("wanda", "wendy"), accepting=("walter", "wanda", "wendy")),
        key(2, signing=("walter",), lacking=("wendy",), unheard=("wanda",)),
        key(3),
    )
    lines = printed(status_view.show, status(keys=keys))
    assert "  key 1: signs for wanda, wendy; accepted by all that are heard" in lines
    assert "  key 2: signs for walter; not accepted by wendy; not heard: wanda" in lines
    assert "  key 3: signs for nobody; accepted by all that are heard" in lines
    assert diagnose(status(keys=keys)) == ()
    assert diagnose(status(keys=(key(1, lacking=("wendy",), differing=("wendy",)),))) == (
        "key 1 of wendy has another secret than ours: make them the same, "
        "or number the new one anew",
    )


def test_why_a_director_holds_nothing_stands_below_the_directors() -> None:
    drained = director("wendy", State.DIRECTOR, State.DRAINED, why="drained by an operator [b]")
    lines = printed(status_view.show, status(directors=(drained,)))
    place = lines.index("  wendy: drained by an operator [b]")
    assert lines[place - 1].startswith("wendy     director, drained     100")
    assert lines[place + 1 :][:2] == ["", "id 1: 16 blocks, 0 held by nobody"]


def test_a_status_with_problems() -> None:
    lines = printed(
        status_view.show,
        status(
            term=None,
            role="follower",
            master=None,
            lease_left_ms=0,
            wait_left_ms=900,
            configuration=None,
            counters=Counters(forged=3, send_failures=1),
            directors=(director("wendy", State.SILENT, heard_ms=None, session=None),),
            divisions=(division(users=None, accepted=None, version=None, taken=None),),
            problems=("something [bold]odd[/bold]",),
        ),
    )
    assert "  term: none yet, this node is follower; master: none is heard" in lines
    assert "  lease: none (deadtime 5.0 s); start-up wait: 900 ms left" in lines
    assert "  beats: 0 sent, 0 received, 3 forged, 1 not sent" in lines
    assert "  configuration: none, the defaults" in lines
    assert "wendy     silent     100       0  never        -" in lines
    assert "  version: none; here: none" in lines
    assert lines[-2:] == ["Problems:", "  something [bold]odd[/bold]"]
    assert not any("packets" in line or "rules that name" in line for line in lines)


def test_the_picture_of_few_blocks() -> None:
    assert printed(blocks_view.show, division()) == [
        "id 1: 16 blocks, version 3.0.7/12",
        "     0 AAAAAAAABBBBBBBB",
        "A  walter  8 blocks  for 3 min 12 s",
        "B  wendy   8 blocks  4 for 3 min 12 s, 4 for 3.5 s",
    ]


def test_the_picture_of_1024_blocks_has_a_letter_for_each() -> None:
    names = ("walter", "wendy", "wanda", None)
    runs = tuple(
        Run(first=b, last=b, holder=names[b % 4], since_ms=1000 * (b % 8)) for b in range(1024)
    )
    lines = printed(blocks_view.show, division(blocks=1024, runs=runs, unheld=256))
    assert lines[1] == "     0 " + "ACB." * 16
    assert lines[16] == "   960 " + "ACB." * 16
    assert lines[17:] == [
        "A  walter  256 blocks  128 for 4.0 s, 128 for 0 ms",
        "B  wanda   256 blocks  128 for 6.0 s, 128 for 2.0 s",
        "C  wendy   256 blocks  128 for 5.0 s, 128 for 1.0 s",
        ".  nobody  256 blocks  128 for 7.0 s, 128 for 3.0 s",
    ]


def test_the_picture_of_65536_blocks_fits_a_screen() -> None:
    runs = (
        Run(first=0, last=63, holder="walter", since_ms=9),
        Run(first=64, last=100, holder="wendy", since_ms=8),
        Run(first=101, last=127, holder="walter", since_ms=7),
        Run(first=128, last=129, holder=None, since_ms=6),
        Run(first=130, last=255, holder="wendy", since_ms=5),
        Run(first=256, last=319, holder=None, since_ms=4),
        Run(first=320, last=65535, holder="wendy", since_ms=3),
    )
    lines = printed(blocks_view.show, division(blocks=65536, runs=runs, unheld=66))
    assert lines[1] == "     0 Ab!B." + "B" * 59
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) < 24
    assert lines[-1] == ".  nobody     66 blocks  2 for 6 ms, 64 for 4 ms"
    assert "B  wendy   65379 blocks  37 for 8 ms, 126 for 5 ms, 65216 for 3 ms" in lines
