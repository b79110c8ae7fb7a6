# SPDX-License-Identifier: GPL-2.0-or-later
"""nftables from within the process: what `nft -f` does, through libnftables and without a program.

`run` and `listing` work in the calling thread's network namespace, and let other threads run
meanwhile, but for those that want the library, too. What is asked for is one transaction: all of it
or nothing.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import threading
from typing import Any

from saru.errors import OutageError, SaruError

LIBRARY = "libnftables.so.1"
NOT_INSTALLED = f"{LIBRARY} is not there (on Debian: apt-get install libnftables1)"
NOT_PERMITTED = "nftables refuses: this needs CAP_NET_ADMIN (run it as root)"

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
# The library does not say that two threads may use it, even with a context each.
_alone = threading.Lock()
_TERSE = 1 << 11  # NFT_CTX_OUTPUT_TERSE
_CAP_NET_ADMIN = 1 << 12


class NftError(SaruError):
    """nftables refused; the message is its own."""


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise OutageError(NOT_INSTALLED) from None
    context, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "nft_ctx_new": (context, [ctypes.c_uint32]),
        "nft_ctx_free": (None, [context]),
        "nft_ctx_buffer_output": (number, [context]),
        "nft_ctx_buffer_error": (number, [context]),
        "nft_ctx_get_output_buffer": (text, [context]),
        "nft_ctx_get_error_buffer": (text, [context]),
        "nft_ctx_output_set_flags": (None, [context, ctypes.c_uint]),
        "nft_run_cmd_from_buffer": (number, [context, text]),
        "nft_run_cmd_from_filename": (number, [context, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def is_there() -> bool:
    """Whether this host has the library."""
    try:
        _library()
    except OutageError:
        return False
    return True


def run(commands: str) -> str:
    """Carry out commands in nft's syntax, as one transaction; what they print.

    Raises OutageError without the library or without the right to it, NftError if nft refuses.
    """
    return _run(commands, 0)


def listing(commands: str, *, elements: bool = True) -> list[dict[str, Any]]:
    """What `list` commands in nft's syntax print, as the objects of nft's JSON, without its head.

    Without `elements` those of sets are left out. Raises as `run` does.
    """
    said = _run(commands, _JSON if elements else _JSON | _TERSE)
    objects: list[dict[str, Any]] = json.loads(said or '{"nftables": []}')["nftables"]
    return [each for each in objects if "metainfo" not in each]


def _run(commands: str, flags: int) -> str:
    if not _may():
        raise OutageError(NOT_PERMITTED)
    with _alone:
        return _run_alone(_library(), commands, flags)


def _run_alone(library: ctypes.CDLL, commands: str, flags: int) -> str:
    context = library.nft_ctx_new(0)
    if not context:
        raise OutageError(f"{LIBRARY} does not start: {os.strerror(errno.ENOMEM)}")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, flags)
        if _carry_out(library, context, commands):
            raise _refusal(library.nft_ctx_get_error_buffer(context).decode(errors="replace"))
        printed: bytes = library.nft_ctx_get_output_buffer(context)
        return printed.decode(errors="replace")
    finally:
        library.nft_ctx_free(context)


def _may() -> bool:
    """Whether this thread has CAP_NET_ADMIN at all; without it the library writes to the terminal.

    Not whether it has it over this network namespace: that the kernel says.
    """
    with open("/proc/thread-self/status", encoding="utf-8") as file:
        effective = next(line for line in file if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) & _CAP_NET_ADMIN)


def _carry_out(library: ctypes.CDLL, context: int, commands: str) -> int:
    """Not 0 if nft refuses."""
    if "\n" not in commands.rstrip("\n"):
        return int(library.nft_run_cmd_from_buffer(context, commands.encode()))
    # Of a file nft says which line it refuses; of a buffer it shows the first, whichever it was.
    with open(os.memfd_create("nftables"), "w", encoding="utf-8") as file:
        file.write(commands)
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}"
        return int(library.nft_run_cmd_from_filename(context, path.encode()))


def _refusal(said: str) -> SaruError:
    """The error for nft's words: the first complaint, and the line of the input that it is about.

    nft marks the place below that line; in one line of text the mark would say nothing.
    """
    if "Operation not permitted" in said:
        return OutageError(NOT_PERMITTED)
    lines = [line.strip() for line in said.splitlines() if line.strip(" ^~\n")]
    first = lines[0].partition("Error: ")[2] or lines[0] if lines else "it does not say why"
    about = f" (at: {lines[1]})" if len(lines) > 1 else ""
    return NftError(f"nftables: {first}{about}")
