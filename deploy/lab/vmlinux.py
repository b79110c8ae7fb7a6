# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel image's inner ELF file.

An emulated guest spends seconds unpacking its own kernel; started from the unpacked file
it does not. The image's header (x86 boot protocol 2.08 and later) says where the packed
kernel lies in it.
"""

import bz2
import gzip
import lzma
import struct
import subprocess
from pathlib import Path

from deploy.lab.cache import LabError

SETUP_SECTORS = 0x1F1
HEADER_MAGIC = 0x202
PAYLOAD_OFFSET = 0x248
ELF = b"\x7fELF"
SECTOR = 512


def unpack(image: Path) -> bytes:
    """The ELF file inside the bzImage `image`."""
    data = image.read_bytes()
    if data[HEADER_MAGIC : HEADER_MAGIC + 4] != b"HdrS":
        raise LabError(f"{image} is not a Linux kernel image")
    sectors = data[SETUP_SECTORS] or 4
    offset, length = struct.unpack_from("<II", data, PAYLOAD_OFFSET)
    start = (sectors + 1) * SECTOR + offset
    elf = _decompress(data[start : start + length], image)
    if not elf.startswith(ELF):
        raise LabError(f"{image}: what is packed in it is no ELF file")
    return elf


def _decompress(packed: bytes, image: Path) -> bytes:
    # Four bytes with the unpacked size may follow the stream: every decoder here stops before.
    if packed.startswith(b"\x1f\x8b"):
        return gzip.decompress(packed)
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(packed)
    tools = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}
    for magic, tool in tools.items():
        if packed.startswith(magic):
            # The trailing size makes the tool complain after it has written everything.
            return subprocess.run([tool, "-dcq"], input=packed, capture_output=True).stdout
    raise LabError(f"{image} is packed in a way this lab does not know: {packed[:6].hex()}")
