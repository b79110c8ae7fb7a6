# SPDX-License-Identifier: GPL-2.0-or-later
"""An interface of this network namespace, and the end of the wire that frames come in by."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from types import TracebackType

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
_ETHERNET = 14  # bytes
MAC, MULTICAST_MAC = bytes.fromhex("005056140340"), bytes.fromhex("01005e140340")


class Wire:
    """`interface` is up and has the MAC `MAC` while this is open."""

    def __init__(self, interface: str = "probe0") -> None:
        self.interface = interface
        self._file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", interface.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(self._file, _TUNSETIFF, request)
        subprocess.run(["ip", "link", "set", interface, "address", MAC.hex(":"), "up"], check=True)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def send(
        self, packet: bytes, source: bytes, destination: bytes = MAC, linear: int | None = None
    ) -> None:
        """Let a frame with an IP packet come in; the kernel has seen it through on return.

        `linear` is how many bytes of the packet lie in one piece there; all, if it is None.
        """
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        frame = destination + source + struct.pack("!H", kind) + packet
        header = struct.pack(
            "=BBHHHH", 0, 0, _ETHERNET + (len(packet) if linear is None else linear), 0, 0, 0
        )
        os.write(self._file, header + frame)
