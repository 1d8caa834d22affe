# SPDX-License-Identifier: Apache-2.0
"""Unix sockets, and a socket that was accepted outside of the loop."""

import asyncio
import os
import socket
import tempfile

import rsloop_c


class Reverse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[::-1])

    def eof_received(self) -> None:
        """Returning nothing lets the transport close."""


async def unix_sockets() -> None:
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "reverse.sock")
        server = await loop.create_unix_server(Reverse, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"stressed")
        print("unix socket:", (await reader.readexactly(8)).decode())
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def accepted_socket() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    transport, _ = await loop.connect_accepted_socket(Reverse, accepted)
    print(
        "server's peer is the client:",
        transport.get_extra_info("peername") == client.getsockname(),
    )
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(b"drawer")
    print("accepted socket:", (await reader.readexactly(6)).decode())
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    await unix_sockets()
    await accepted_socket()


if __name__ == "__main__":
    rsloop_c.run(main())
