# SPDX-License-Identifier: GPL-2.0-or-later
"""The mask: what leaves an interface is rewritten, so that no switch learns where the VIP's MAC is.

It is an nftables table of its own, `netdev saru-link-INTERFACE`, with a chain on the way out of the
device, behind everything else that sends: kernel, sockets of programs, devices stacked on top.

- unicast: the shared MAC never leaves as a frame's source; each director's own MAC stands there.
- multicast: frames keep the own MAC, and what tells others the VIP's MAC (ARP, and the link-layer
  address option of IPv6's neighbour discovery) tells the multicast MAC instead. A program that
  builds its own neighbour discovery with further options before that one is not rewritten.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nftsocket import Cmp
from pyroute2.nftables.expressions import genex
from pyroute2.nftables.main import NFTables

from saru import nft
from saru.errors import OutageError

_NETDEV = 5  # NFPROTO_NETDEV
_NETWORK, _TRANSPORT = 1, 2  # bases of a payload expression
_ADVERTISEMENT, _SOLICITATION = 136, 135
_ND_TARGET, _ND_OPTION = 8, 24  # offsets in the ICMPv6 message
_TAG = re.compile(r'comment "(saru [0-9a-f]{12})"$')
_OPTION_OF = {_ADVERTISEMENT: 2, _SOLICITATION: 1}  # target's, source's link-layer address


@dataclass(frozen=True, slots=True)
class Mask:
    """What is rewritten on the way out of `interface`.

    Without `vips`: source `shared` becomes `source` (unicast). With them: what tells the VIPs' MAC
    tells `shared`, a multicast MAC (multicast). MACs in lower case.
    """

    interface: str
    shared: str
    source: str = ""
    vips: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table's name; characters that nft has no words for become underscores."""
        return "saru-link-" + re.sub(r"[^A-Za-z0-9_.-]", "_", self.interface)

    @property
    def tags(self) -> list[str]:
        """A tag for each rule, which changes with all that the rule says."""
        return [tag for tag, _ in self._text_rules()] + [tag for tag, _ in self._nd_rules()]

    def text(self) -> str:
        """The table as nft reads it, in place of any that is there."""
        rules = "".join(f'    {rule} comment "{tag}"\n' for tag, rule in self._text_rules())
        return (
            f"table netdev {self.table}\n"
            f"delete table netdev {self.table}\n"
            f"table netdev {self.table} {{\n"
            "  chain out {\n"
            f'    type filter hook egress device "{self.interface}" priority filter\n'
            f"{rules}"
            "  }\n"
            "}\n"
        )

    def install(self) -> None:
        """Put it there at once, in place of what is there. Raises SaruError."""
        nft.run(self.text())
        rules = list(self._nd_rules())
        if not rules:
            return
        # nft has no words for a write that keeps ICMPv6's checksum right; the kernel has.
        try:
            with NFTables(nfgen_family=_NETDEV) as kernel:
                for tag, expressions in rules:
                    kernel.rule(
                        "add",
                        table=self.table,
                        chain="out",
                        expressions=(expressions,),
                        userdata=tag,
                    )
        except (NetlinkError, OSError) as fault:
            raise OutageError(
                f"nftables refuses to rewrite neighbour discovery: {fault}"
            ) from fault

    def remove(self) -> bool:
        """Take it away; whether it was there."""
        if self._listed() is None:
            return False
        nft.run(f"delete table netdev {self.table}")
        return True

    def check(self) -> list[str]:
        """What is missing or different, a line each."""
        listed = self._listed()
        if listed is None:
            return [f"{self.interface}: the mask (table netdev {self.table}) is missing"]
        device = rf'hook egress devices? (= {{ )?"?{re.escape(self.interface)}"?[ ;]'
        # One line a rule; a rule that somebody else put there has no tag, or another.
        body = [line for line in listed.splitlines() if re.match(r"\t\t(?!type )\S", line)]
        there = [tag[1] if (tag := _TAG.search(line)) else "" for line in body]
        if there != self.tags or not re.search(device, listed):
            return [
                f"{self.interface}: the mask (table netdev {self.table}) is not as it should be"
            ]
        return []

    def _listed(self) -> str | None:
        try:
            return nft.run(f"list table netdev {self.table}")
        except nft.NftError as fault:
            if "No such file" in str(fault) or "does not exist" in str(fault):
                return None
            raise

    def _text_rules(self) -> Iterator[tuple[str, str]]:
        if not self.vips:
            yield _tagged(f"ether saddr {self.shared} ether saddr set {self.source}")
        for vip in self.vips:
            if ipaddress.ip_address(vip).version == 4:
                yield _tagged(f"arp saddr ip {vip} arp saddr ether set {self.shared}")

    def _nd_rules(self) -> Iterator[tuple[str, list[object]]]:
        for vip in self.vips:
            if ipaddress.ip_address(vip).version == 6:
                for kind in (_ADVERTISEMENT, _SOLICITATION):
                    tag, _ = _tagged(f"nd {kind} {vip} {self.shared}")
                    yield tag, list(_nd_expressions(kind, vip, self.shared))


def _tagged(rule: str) -> tuple[str, str]:
    return "saru " + hashlib.sha256(rule.encode()).hexdigest()[:12], rule


def _nd_expressions(kind: int, vip: str, mac: str) -> Iterator[object]:
    """If it is neighbour discovery that tells `vip`'s MAC, let it tell `mac`."""
    address = ipaddress.ip_address(vip).packed
    yield from _if_meta(1, (0x86DD).to_bytes(2, "big"))  # NFT_META_PROTOCOL
    yield from _if_payload(_NETWORK, 6, b"\x3a")
    yield from _if_payload(_TRANSPORT, 0, bytes((kind,)))
    if kind == _ADVERTISEMENT:
        yield from _if_payload(_TRANSPORT, _ND_TARGET, address)
    else:
        yield from _if_payload(_NETWORK, 8, address)
    yield from _if_payload(_TRANSPORT, _ND_OPTION, bytes((_OPTION_OF[kind], 1)))
    yield genex("immediate", {"DREG": 1, "DATA": _value(bytes.fromhex(mac.replace(":", "")))})
    write = {"SREG": 1, "BASE": _TRANSPORT, "OFFSET": _ND_OPTION + 2, "LEN": 6}
    yield genex("payload", {**write, "CSUM_TYPE": 1, "CSUM_OFFSET": 2})


def _if_payload(base: int, offset: int, value: bytes) -> Iterable[object]:
    load = {"DREG": 1, "BASE": base, "OFFSET": offset, "LEN": len(value)}
    return (genex("payload", load), _compare(value))


def _if_meta(key: int, value: bytes) -> Iterable[object]:
    return (genex("meta", {"DREG": 1, "KEY": key}), _compare(value))


def _compare(value: bytes) -> object:
    return genex("cmp", {"SREG": 1, "OP": Cmp.NFT_CMP_EQ, "DATA": _value(value)})


def _value(value: bytes) -> object:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}
