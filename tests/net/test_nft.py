# SPDX-License-Identifier: GPL-2.0-or-later
"""libnftables from within the process, and the sets of the data plane."""

from __future__ import annotations

import subprocess
import sys

import pytest

from saru import nft
from saru.core.blocks import Map, Sense
from saru.core.settings import Division
from saru.dataplane import layout
from tests.net.netns import network


def test_a_refusal_is_one_line_in_nfts_own_words() -> None:
    with pytest.raises(nft.NftError, match=r"^nftables: [^\n]*No such file or directory[^\n]*$"):
        nft.run("add table inet a\nadd rule inet a nosuch accept\n")
    assert nft.listing("list tables") == [], "a part of a refused transaction stayed"
    with pytest.raises(nft.NftError, match=r"\(at: add rule inet a nosuch accept\)$"):
        nft.run("add table inet a\nadd rule inet a nosuch accept\n")
    with pytest.raises(nft.NftError, match=r"syntax error, unexpected .* \(at: ad table inet a\)$"):
        nft.run("ad table inet a")


def test_what_is_listed_comes_as_objects() -> None:
    nft.run("add table inet a\nadd table ip b\n")
    found = [
        (each["table"]["family"], each["table"]["name"]) for each in nft.listing("list tables")
    ]
    assert found == [("inet", "a"), ("ip", "b")]


def test_each_thread_works_in_its_own_namespace() -> None:
    nft.run("add table inet here")
    found: list[object] = []
    with network("other") as made:
        found += made.hosts["other"].call(lambda: nft.listing("list tables"))
    assert found == []
    assert len(nft.listing("list tables")) == 1


def test_without_the_right_to_it_it_is_an_outage() -> None:
    code = (
        "from saru import nft; from saru.errors import OutageError\n"
        "try: nft.run('add table inet a')\n"
        "except OutageError as error: print(error)"
    )
    drop = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    said = subprocess.run(
        [*drop, sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert (said.stdout, said.stderr) == (f"{nft.NOT_PERMITTED}\n", "")


def test_sets_are_added_again_without_harm() -> None:
    nft.run(layout.definitions([1, 2]))
    nft.run(f"add element inet saru {layout.held_set(1)} {{ 5, 7 }}")
    before = nft.run("list table inet saru")
    nft.run(layout.definitions([1, 2, 3]))
    after = nft.run("list table inet saru")
    assert before.removesuffix("}\n") in after
    assert "set until_3" in after


@pytest.mark.parametrize("version", [4, 6])
def test_every_judgement_is_taken_and_what_is_listed_is_read_again(version: int) -> None:
    nft.run(layout.definitions([1]) + "add chain inet saru x\n")
    senses = [Sense(bits) for bits in range(1, 16)]
    ranged = {Sense.SRC_PORT, Sense.DST_PORT}
    if version == 4:
        ranged |= {Sense.SRC_ADDR, Sense.DST_ADDR}
    maps = {
        sense: [Map.AUTO, Map.HASH, *([Map.RANGE] if sense in ranged else [])] for sense in senses
    }
    wanted = [(sense, mapping) for sense in senses for mapping in maps[sense]]
    for sense, mapping in wanted:
        matches = layout.judgement(Division(1, 1024, 0xFFFF0001), sense, version, mapping)
        nft.run(f"add rule inet saru x {matches} counter accept")
    listed = nft.run("list table inet saru")
    assert listed.count("@lease_1") == len(wanted)
    nft.run("delete table inet saru")
    nft.run(listed)
    assert nft.run("list table inet saru") == listed
