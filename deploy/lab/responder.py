# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server's service: says its own name, over TCP and UDP, on the addresses given.

    python -m deploy.lab.responder NAME PORT ADDRESS...

UDP: the answer is the name, a space, and what came. TCP: the answer to a line is the same; an
HTTP request is answered with the name as the page.
"""

import asyncio
import socket
import sys
from typing import cast

SO_RCVBUFFORCE = 33
BUFFER = 8 << 20
"""Bytes: datagrams of a second or two, should this process not get its turn."""


class Datagrams(asyncio.DatagramProtocol):
    """Answers every datagram."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: asyncio's own transport does not derive from the class it stands for.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(self._name + b" " + data, addr)


async def serve(name: bytes, port: int, addresses: list[str]) -> None:
    """Serve until the process ends. OSError when an address is not this host's."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if b"HTTP/" in line:
                    writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                    writer.write(name + b"\n")
                    break
                writer.write(name + b" " + line)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            writer.close()

    loop = asyncio.get_running_loop()
    for address in addresses:
        await asyncio.start_server(answer, address, port)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(name), local_addr=(address, port)
        )
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    print(f"{name.decode()} listens", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]))
