# SPDX-License-Identifier: Apache-2.0
"""Readiness of file descriptors, the loop's sock_* methods, name resolution."""

import asyncio
import socket

import rsloop_c


async def readiness() -> None:
    """add_reader() and add_writer() take what has a fileno()."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    done = loop.create_future()
    events = []

    def writable() -> None:
        loop.remove_writer(left)
        events.append(f"sent {left.send(b'ping')} bytes")

    def readable() -> None:
        loop.remove_reader(right)
        events.append(f"received {right.recv(16)!r}")
        done.set_result(None)

    with left, right:
        loop.add_reader(right, readable)
        loop.add_writer(left, writable)
        await done
    print("readiness:", ", ".join(events))


async def raw_sockets() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        for sock in (listener, client):
            sock.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        server, _ = await accepting
        with server:
            await loop.sock_sendall(client, b"hello")
            buffer = bytearray(16)
            count = await loop.sock_recv_into(server, buffer)
            print("sock_*:", bytes(buffer[:count]).decode())


async def datagrams() -> None:
    loop = asyncio.get_running_loop()
    received = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            received.set_result(data)

    server, _ = await loop.create_datagram_endpoint(
        Receiver, local_addr=("127.0.0.1", 0)
    )
    client, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=server.get_extra_info("sockname")
    )
    client.sendto(b"one datagram")
    print("udp:", (await received).decode())
    client.close()
    server.close()


async def names() -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    addresses = {str(address[4][0]) for address in found}
    print("localhost is", ", ".join(sorted(addresses)))
    host, service = await loop.getnameinfo(
        ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    )
    print(f"and back: {host} port {service}")


async def main() -> None:
    await readiness()
    await raw_sockets()
    await datagrams()
    await names()


if __name__ == "__main__":
    rsloop_c.run(main())
