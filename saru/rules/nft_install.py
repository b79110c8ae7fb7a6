# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts Saru's chains into nftables, says what differs, and takes them out again.

A change is one transaction: a packet is judged by all of what was there or by all of what is there
then. The table `inet saru` is shared with the data plane, whose sets are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from saru import nft
from saru.config import Config
from saru.dataplane.layout import FAMILY, TABLE, definitions
from saru.errors import OutageError
from saru.rules.nft_change import Found, differences, transaction
from saru.rules.nft_model import Chain, chains

ATTEMPTS = 3  # somebody else may write between our reading and our writing


def check(config: Config | None) -> list[str]:
    """What is missing or different from what the configuration asks for, a line each.

    None asks for no chains at all.
    """
    return [f"nftables: {each}" for each in differences(_read(), _wanted(config))]


def apply(config: Config | None) -> list[str]:
    """Make the chains as configured. Returns what was done, a line each; empty: nothing had to be.

    None asks for no chains at all. Raises OutageError if nftables refuses; then all is as before.
    """
    wanted = _wanted(config)
    for attempt in range(1, ATTEMPTS + 1):
        found = _read()
        commands, done = transaction(found, wanted)
        if not commands:
            return []
        made = definitions(division.id for division in config.ids) if config and wanted else ""
        try:
            nft.run(made + commands)
        except nft.NftError as fault:
            if attempt == ATTEMPTS or _read() == found:
                raise OutageError(f"{fault}; {_mend(str(fault))}") from fault
        else:
            return [f"nftables: {each}" for each in done]
    raise AssertionError("unreachable: the last attempt raises")


def _mend(said: str) -> str:
    """What to do about a refusal in nft's words."""
    if "File exists" in said or "datatype mismatch" in said:
        return f"table {FAMILY} {TABLE} has something else of a name that is Saru's; take it out"
    return (
        "this kernel may lack what these rules need: "
        "nf_tables with jhash, connection tracking, fib and tproxy"
    )


def _wanted(config: Config | None) -> Sequence[Chain]:
    return chains(config) if config is not None else ()


def _read() -> Found:
    try:
        return Found.read(nft.listing(f"list table {FAMILY} {TABLE}", elements=False))
    except nft.NftError:
        if any(each["table"]["name"] == TABLE for each in nft.listing(f"list tables {FAMILY}")):
            raise
        return Found.read(())
