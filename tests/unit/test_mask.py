# SPDX-License-Identifier: GPL-2.0-or-later
"""The mask's text, without a kernel."""

from __future__ import annotations

import pytest

from saru.link.mask import Mask

SHARED, OWN, GROUP = "00:50:56:14:03:40", "02:00:00:00:00:11", "01:50:56:14:03:40"
UNICAST = Mask("eth0", SHARED, source=OWN)


def test_unicast_rewrites_the_source() -> None:
    (tag,) = UNICAST.tags
    assert UNICAST.text().splitlines() == [
        "table netdev saru-link-eth0",
        "delete table netdev saru-link-eth0",
        "table netdev saru-link-eth0 {",
        "  chain out {",
        '    type filter hook egress device "eth0" priority filter',
        f'    ether saddr {SHARED} ether saddr set {OWN} comment "{tag}"',
        "  }",
        "}",
    ]


def test_multicast_rewrites_what_tells_the_mac() -> None:
    """ARP for IPv4; for IPv6 an advertisement and a solicitation, which are no text of nft's."""
    mask = Mask("eth0", GROUP, vips=("172.17.60.201", "fd00::201"))
    assert len(mask.tags) == 3
    assert f"arp saddr ip 172.17.60.201 arp saddr ether set {GROUP} " in mask.text()
    assert "ether saddr 0" not in mask.text()


@pytest.mark.parametrize(
    "other",
    [
        Mask("eth0", SHARED, source="02:00:00:00:00:12"),
        Mask("eth0", "00:50:56:14:03:41", source=OWN),
        Mask("eth0", GROUP, vips=("172.17.60.201",)),
    ],
)
def test_another_mask_has_other_tags(other: Mask) -> None:
    assert other.tags != UNICAST.tags


def test_any_interface_makes_a_table_that_nft_can_name() -> None:
    assert Mask("br-lan.100", SHARED).table == "saru-link-br-lan.100"
    assert Mask("wéird@0+", SHARED).table == "saru-link-w_ird_0_"
