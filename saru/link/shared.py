# SPDX-License-Identifier: GPL-2.0-or-later
"""The interface with the shared MAC and the VIPs: up, down, and what is wrong with it.

All directors receive every packet for the VIPs, in one of three ways (`link.mode`):

- unicast: the interface gets the shared MAC, and the mask keeps it from ever leaving as a source,
  so that no switch learns it and every switch floods. The mask is there before the MAC is.
- multicast: the interface keeps its MAC; ARP and neighbour discovery tell a multicast MAC.
- hub: the interface gets the shared MAC, unmasked; for a hub, or a switch that cannot learn.

A director's own address belongs on another interface. What is found before the first `up` is kept
in the daemon's run directory, so that `down` gives it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from saru.config import Config, Link, LinkMode
from saru.errors import ConfigError, OutageError
from saru.link.carrier import trouble
from saru.link.interface import Interface
from saru.link.mask import Mask
from saru.link.sysctl import ROOT, Kept, Setting
from saru.state import durable

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_GROUP_BIT = 0x01
_LOCAL_BIT = 0x02


def up(config: Config) -> list[str]:
    """Make the interface as configured. Returns what was done, a line each; none if all was so."""
    link = _link(config)
    with Interface(link.interface) as interface:
        own = _own_mac(config, interface)
        if not _memory(config).exists():
            _remember(config, own, up=interface.is_up)
        mask = _mask(config, own)
        done = [f"{link.interface}: {each}" for each in _kept(config).hold(_settings(link))]
        done += _set_mac(link, interface, mask)
        if link.mode is LinkMode.MULTICAST and not interface.listens_to(link.mac):
            interface.listen_to(link.mac)
            done.append(f"{link.interface}: takes in frames to {link.mac}")
        done += _own_link_local(link, interface, own)
    return done + add_addresses(config)


def down(config: Config) -> list[str]:
    """Take the VIPs and the shared MAC away again. Returns what was done, a line each."""
    link = _link(config)
    done = remove_addresses(config)
    with Interface(link.interface) as interface:
        own = _own_mac(config, interface)
        was_up = _remembered(config).get("up", True)
        if interface.mac == link.mac:
            with interface.taken_down():
                interface.set_mac(own)
            done.append(f"{link.interface}: MAC {own}")
        if interface.listens_to(link.mac):
            interface.listen_to(link.mac, listen=False)
        # The kernel makes its link-local address anew with the setting, and forgets it when down.
        done += (f"{link.interface}: {each}" for each in _kept(config).restore())
        if not was_up and interface.is_up:
            interface.set_up(False)
            done.append(f"{link.interface}: down, as it was found")
        if _any_mask(link).remove():
            done.append(f"{link.interface}: the mask removed")
    durable.discard(_memory(config))
    return done


def check(config: Config) -> list[str]:
    """What is missing or different, a line each; empty if the interface is as configured."""
    link = _link(config)
    with Interface(link.interface) as interface:
        found = list(_differences(config, link, interface))
    return found + [each for each in (s.difference() for s in _settings(link)) if each]


def lacking(config: Config) -> list[str]:
    """What keeps packets for the VIPs from this host, a line each; empty if nothing does."""
    link = _link(config)
    try:
        with Interface(link.interface) as interface:
            cable = [trouble(link.interface)] if interface.is_up else []
            return [each for each in (*cable, *_obstacles(link, interface)) if each]
    except OutageError as outage:
        return [str(outage)]


def check_mask(config: Config) -> list[str]:
    """What is wrong with the mask alone; empty if all is well, or no mask is needed now."""
    mask = mask_of(config) if is_up(config) else None
    return mask.check() if mask else []


def put_mask(config: Config) -> list[str]:
    """Put the mask back if it is needed and not as it should be. Returns what was done."""
    mask = mask_of(config) if is_up(config) else None
    if mask is None or not mask.check():
        return []
    mask.install()
    return [f"{mask.interface}: the mask put in"]


def is_up(config: Config) -> bool:
    """Whether `up` has been done: the interface takes in what is sent to the shared MAC."""
    link = _link(config)
    try:
        with Interface(link.interface) as interface:
            return interface.is_up and (
                interface.listens_to(link.mac)
                if link.mode is LinkMode.MULTICAST
                else interface.mac == link.mac
            )
    except OutageError:
        return False


def mask_of(config: Config) -> Mask | None:
    """The mask that the configuration asks for."""
    link = _link(config)
    if link.mode is not LinkMode.UNICAST:
        return _mask(config, "")
    with Interface(link.interface) as interface:
        return _mask(config, _own_mac(config, interface))


def add_addresses(config: Config) -> list[str]:
    """Put the VIPs on the interface. Returns what was done, a line each."""
    link = _link(config)
    with Interface(link.interface) as interface:
        return [
            f"{link.interface}: {address} added"
            for address in _addresses(link)
            if interface.add_address(address)
        ]


def remove_addresses(config: Config, before: Callable[[], None] | None = None) -> list[str]:
    """Take the VIPs off the interface. Returns what was done, a line each.

    `before` is called first, if there is such an interface at all.
    """
    link = _link(config)
    with Interface(link.interface) as interface:
        if before is not None:
            before()
        return [
            f"{link.interface}: {address} removed"
            for address in _addresses(link)
            if interface.remove_address(address)
        ]


def _set_mac(link: Link, interface: Interface, mask: Mask | None) -> list[str]:
    """The shared MAC, never without its mask; in multicast mode the mask alone."""
    done = []
    if link.mode is LinkMode.MULTICAST or interface.mac == link.mac:
        if mask is not None and mask.check():
            mask.install()
            done.append(f"{link.interface}: the mask put in")
        if not interface.is_up:
            interface.set_up(True)
            done.append(f"{link.interface}: up")
        return done
    with interface.taken_down():
        if mask is not None:
            mask.install()
            done.append(f"{link.interface}: the mask put in, source {mask.source}")
        interface.set_mac(link.mac)
        done.append(f"{link.interface}: MAC {link.mac}, up")
    return done


def _own_link_local(link: Link, interface: Interface, own: str) -> list[str]:
    """Of two directors with the shared MAC's link-local address, one would have none."""
    if link.mode is LinkMode.MULTICAST or not _has_ipv6(link):
        return []
    shared, mine = _link_local(link.mac), _link_local(own)
    done = []
    if shared != mine and interface.remove_address(shared):
        done.append(f"{link.interface}: {shared} removed")
    if interface.add_address(mine):
        done.append(f"{link.interface}: {mine} added")
    return done


def _differences(config: Config, link: Link, interface: Interface) -> Iterator[str]:
    yield from _obstacles(link, interface)
    name, own = link.interface, _own_mac(config, interface)
    mask = _mask(config, own)
    if mask is not None:
        yield from mask.check()
    there = interface.addresses()
    if link.mode is not LinkMode.MULTICAST and _has_ipv6(link):
        if _link_local(own) not in there:
            yield f"{name}: its own link-local address {_link_local(own)} is missing"
        if _link_local(link.mac) in there:
            yield f"{name}: has the link-local address of the shared MAC"


def _obstacles(link: Link, interface: Interface) -> Iterator[str]:
    """What keeps packets for the VIPs out."""
    name = link.interface
    if not interface.is_up:
        yield f"{name}: is down"
    if link.mode is LinkMode.MULTICAST:
        if not interface.listens_to(link.mac):
            yield f"{name}: does not take in frames to {link.mac}"
    elif interface.mac != link.mac:
        yield f"{name}: its MAC is {interface.mac}, not {link.mac}"
    there = interface.addresses()
    for address in _addresses(link):
        if address not in there:
            yield f"{name}: {address} is missing"


def _settings(link: Link) -> tuple[Setting, ...]:
    """The kernel's settings that go with it."""
    every, mine = "net/ipv4/conf/all", f"net/ipv4/conf/{link.interface}"
    redirects = "or every director tells senders of better ways than the shared MAC"
    strict = (ROOT / every / "rp_filter").read_text(encoding="ascii").strip() == "1"
    settings = [
        Setting(
            f"{every}/arp_ignore",
            "1",
            "or other interfaces answer for the VIP with their own MAC",
            also=("2",),
        ),
        Setting(
            f"{every}/arp_announce",
            "2",
            "or other interfaces ask in the VIP's name with their own MAC",
        ),
        Setting(f"{every}/send_redirects", "0", redirects),
        Setting(f"{mine}/send_redirects", "0", redirects),
        Setting(
            f"{mine}/rp_filter",
            "2",
            "or packets whose way back leads through another interface are dropped",
            also=() if strict else ("0",),
        ),
        Setting(
            f"{mine}/promote_secondaries", "1", "or an address may go with a VIP that is taken off"
        ),
    ]
    if link.mode is not LinkMode.MULTICAST and _has_ipv6(link):
        settings.append(
            Setting(
                f"net/ipv6/conf/{link.interface}/addr_gen_mode",
                "1",
                "or the kernel makes all directors the same link-local address",
            )
        )
    return tuple(settings)


def _link(config: Config) -> Link:
    if config.link is None:
        raise ConfigError(['link: is missing; write [link] with interface = "…" and mac = "…"'])
    return config.link


def _mask(config: Config, own: str) -> Mask | None:
    link = _link(config)
    if link.mode is LinkMode.UNICAST:
        return Mask(link.interface, link.mac, source=own)
    if link.mode is LinkMode.MULTICAST:
        vips = tuple(str(address.ip) for address in _addresses(link))
        return Mask(link.interface, link.mac, vips=vips)
    return None


def _any_mask(link: Link) -> Mask:
    """For taking it away, whichever it is."""
    return Mask(link.interface, link.mac)


def _addresses(link: Link) -> tuple[Address, ...]:
    return tuple(ipaddress.ip_interface(address) for address in link.addresses)


def _own_mac(config: Config, interface: Interface) -> str:
    """This director's own MAC: remembered, or the device's, or made from the director's name."""
    link = _link(config)
    remembered = _remembered(config).get("mac")
    if isinstance(remembered, str) and remembered != link.mac:
        return remembered
    for mac in (interface.mac, interface.permanent_mac):
        if mac is not None and mac != link.mac and not int(mac[:2], 16) & _GROUP_BIT:
            return mac
    made = bytearray(hashlib.sha256(config.director.name.encode()).digest()[:6])
    made[0] = (made[0] & ~_GROUP_BIT) | _LOCAL_BIT
    return made.hex(":")


def _link_local(mac: str) -> ipaddress.IPv6Interface:
    """The link-local address that goes with a MAC (modified EUI-64)."""
    packed = bytearray.fromhex(mac.replace(":", ""))
    packed[0] ^= _LOCAL_BIT
    host = bytes(packed[:3]) + b"\xff\xfe" + bytes(packed[3:])
    return ipaddress.IPv6Interface((b"\xfe\x80" + bytes(6) + host, 64))


def _has_ipv6(link: Link) -> bool:
    setting = Path("/proc/sys/net/ipv6/conf") / link.interface / "disable_ipv6"
    with contextlib.suppress(FileNotFoundError):
        return setting.read_text(encoding="ascii").strip() == "0"
    return False


def _kept(config: Config) -> Kept:
    return Kept(config.daemon.run / f"link-{_link(config).interface}.sysctl.json")


def _memory(config: Config) -> Path:
    return config.daemon.run / f"link-{_link(config).interface}.json"


def _remembered(config: Config) -> dict[str, object]:
    try:
        stored = json.loads(_memory(config).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _remember(config: Config, mac: str, *, up: bool) -> None:
    durable.keep(_memory(config), json.dumps({"mac": mac, "up": up}).encode())
