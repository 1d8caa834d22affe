# SPDX-License-Identifier: Apache-2.0
"""What the system does to a loop: no descriptors, resets, a forbidden ring,
full buffers, thousands of connections."""

import asyncio
import gc
import os
import random
import socket
import struct

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    SECCOMP,
    Echo,
    Recorder,
    native_threads,
    open_fds,
    reset,
    resident_kib,
    run_python,
    settle,
    tcp_socket_pair,
    transport_and_peer,
    until,
)

LINGER_RESET = struct.pack("ii", 1, 0)


def test_accept_without_descriptors_is_reported_and_recovers(flavour):
    """30 clients of another process, 10 descriptors left; they are all served
    once there are descriptors again."""
    done = run_python("""
        import resource, socket

        to_child, from_parent = os.pipe()[::-1]
        pid = os.fork()
        if pid == 0:
            os.close(to_child)
            port = int(os.read(from_parent, 10))
            clients = [socket.create_connection(("127.0.0.1", port))
                       for _ in range(30)]
            for client in clients:
                client.settimeout(10)
                client.sendall(b"x")
            served = sum(client.recv(1) == b"x" for client in clients)
            os._exit(0 if served == 30 else 1)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        reports = []

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
            def data_received(self, data):
                self.transport.write(data)

        def handler(loop, context):
            reports.append(context)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(handler)
            server = await loop.create_server(Echo, "127.0.0.1", 0,
                                              start_serving=False)
            most = max(map(int, os.listdir("/proc/self/fd")))
            # The kernel notes the limit when an accept is armed.
            resource.setrlimit(resource.RLIMIT_NOFILE, (most + 10, hard))
            await server.start_serving()
            os.write(to_child, b"%d" % server.sockets[0].getsockname()[1])
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    break
                await asyncio.sleep(0.005)
            server.close()
            print(os.waitstatus_to_exitcode(status), len(reports) >= 1,
                  reports and reports[0]["exception"].errno,
                  reports and reports[0]["message"])

        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0.02))
        loop.close()
        """, flavour)
    assert done.stdout == ("0 True 24 socket.accept() out of system "
                           "resource\n"), done.stderr


def test_new_loop_without_descriptors_raises_and_leaks_nothing(flavour):
    done = run_python("""
        import resource
        new_event_loop().close()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = len(os.listdir("/proc/self/fd"))
        most = max(map(int, os.listdir("/proc/self/fd")))
        raised = 0
        for spare in range(0, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most + spare, hard))
            try:
                loop = new_event_loop()
                loop.run_until_complete(asyncio.sleep(0))
                loop.close()
            except OSError as exc:
                raised += 1
                assert exc.errno == 24, exc
                try:
                    loop.close()
                except (NameError, OSError):
                    pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        import gc, warnings
        warnings.simplefilter("ignore")
        gc.collect()
        after = len(os.listdir("/proc/self/fd"))
        print(raised > 0, after - before)
        """, flavour)
    assert done.stdout == "True 0\n", done.stderr


def test_connect_without_descriptors_raises(flavour):
    done = run_python("""
        import resource, socket
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()

        async def main():
            most = max(map(int, os.listdir("/proc/self/fd")))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            try:
                await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, *address)
            except OSError as exc:
                return exc.errno
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        loop = new_event_loop()
        print(loop.run_until_complete(main()))
        loop.close()
        """, flavour)
    assert done.stdout == "24\n", done.stderr


ECHO = """
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def echo():
    server = await asyncio.get_running_loop().create_server(
        Echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    writer.write(b"hello")
    data = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()
    server.close()
    return data
"""


@pytest.mark.asyncio_is_worse("it has no ring")
@pytest.mark.parametrize("errno", [1, 38, 12, 13, 22],
                         ids=["EPERM", "ENOSYS", "ENOMEM", "EACCES", "EINVAL"])
@pytest.mark.parametrize("backend", ["auto", "io_uring"])
def test_forbidden_io_uring_falls_back_silently(flavour, errno, backend):
    if flavour.name != "io_uring":
        pytest.skip("one flavour is enough: the backend is set here")
    code = SECCOMP + ECHO + f"""
forbid(IO_URING, ERRNO | {errno})
import rsloop_c
loop = rsloop_c.new_event_loop({backend!r})
info = rsloop_c.runtime_info(loop)
print(loop.backend, info["backend"], bool(info["reason"]),
      loop.run_until_complete(echo()))
loop.run_until_complete(asyncio.sleep(0.005))
loop.close()
"""
    done = run_python(code, flavour, "-W", "error")
    assert (done.stdout, done.stderr, done.returncode) == (
        "epoll epoll True b'hello'\n", "", 0)


@pytest.mark.asyncio_is_worse("it has no ring")
def test_epoll_backend_makes_no_io_uring_syscall(flavour):
    """Any such syscall kills the process."""
    if flavour.name != "epoll":
        pytest.skip("of the epoll backend")
    code = SECCOMP + ECHO + """
forbid(IO_URING, KILL)
import rsloop_c
rsloop_c.build_info()
loop = rsloop_c.new_event_loop()
print(loop.backend, loop.run_until_complete(echo()))
loop.run_until_complete(asyncio.sleep(0.005))
loop.close()
"""
    done = run_python(code, flavour)
    assert (done.stdout, done.returncode) == ("epoll b'hello'\n", 0), \
        done.stderr


@pytest.mark.stream
async def test_connection_reset_before_it_is_accepted(loop):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0)
    for _ in range(20):
        sock = socket.create_connection(server.sockets[0].getsockname())
        reset(sock)
    with socket.create_connection(server.sockets[0].getsockname()):
        await until(lambda: len(made) >= 1 and made[-1].transport)
    for protocol in made:
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls[0] == "made"
        assert protocol.calls.count("lost") == 1
    server.close()
    await server.wait_closed()


@pytest.mark.stream
async def test_resets_at_random_phases_lose_nothing_and_crash_nothing(loop):
    """Clients that reset before, during and after an exchange."""
    loop.set_exception_handler(lambda loop, context: None)
    made = []

    def factory():
        made.append(Echo())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0, backlog=100)
    address = server.sockets[0].getsockname()
    dice = random.Random(42)

    async def client():
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        phase = dice.randrange(6)
        if phase >= 1:
            sock.send(b"x" * dice.randrange(1, 60_000))
        if phase >= 2:
            await asyncio.sleep(0)
        if phase >= 3:
            await loop.sock_recv(sock, 1)
        if phase >= 4:
            sock.shutdown(socket.SHUT_WR)
        if phase >= 5:
            while await loop.sock_recv(sock, 65536):
                pass
            sock.close()
        else:
            reset(sock)

    for _ in range(10):
        await asyncio.gather(*(client() for _ in range(30)))
    await until(lambda: len(made) >= 290)
    await settle()
    for protocol in made:
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls[0] == "made"
        assert protocol.calls[-1] == "lost"
        assert protocol.calls.count("lost") == 1
        assert protocol.lost_with is None or isinstance(
            protocol.lost_with, (ConnectionResetError, BrokenPipeError))
    server.close()
    await server.wait_closed()


@pytest.mark.stream
async def test_reset_in_the_turn_of_our_own_close(loop):
    for _ in range(20):
        ours, peer = tcp_socket_pair()
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours)
        transport.write(b"x")
        reset(peer)
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls == ["made", "lost"]


@pytest.mark.stream
async def test_reset_right_after_data_delivers_at_most_that_data(loop):
    for _ in range(20):
        ours, peer = tcp_socket_pair()
        _, protocol = await loop.create_connection(Recorder, sock=ours)
        peer.send(b"data")
        reset(peer)
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert exc is None or isinstance(exc, ConnectionResetError)
        assert protocol.data in (b"", b"data")
        assert protocol.calls[-1] == "lost"


@pytest.mark.stream
async def test_full_buffers_on_many_connections_drain_correctly(loop):
    data = os.urandom(400_000)
    ends = []
    for _ in range(20):
        ours, peer = tcp_socket_pair()
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours)
        ends.append((transport, protocol, peer))
        for start in range(0, len(data), 7919):
            transport.write(data[start:start + 7919])
    await settle()
    from support import recv_exactly
    results = await asyncio.gather(*(
        recv_exactly(peer, len(data)) for _, _, peer in ends))
    assert results == [data] * 20
    for transport, protocol, peer in ends:
        transport.abort()
        await protocol.lost
        peer.close()


def sockets():
    return [what for what in open_fds().values()
            if what and what.startswith("socket:")]


@pytest.mark.stream
@pytest.mark.slow(60)
async def test_10_000_connections_leak_nothing(flavour, loop):
    """Descriptors, threads and memory after as before."""
    total = 10_000 if flavour.ours and not flavour.takeover else 1_000
    served = [0, 0]

    class Counted(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            served[0] += 1

        def connection_lost(self, exc):
            super().connection_lost(exc)
            served[1] += 1

    server = await loop.create_server(Counted, LOOPBACK, 0, backlog=100)
    address = server.sockets[0].getsockname()

    async def cycle(reset_it):
        transport, protocol = await loop.create_connection(
            Recorder, *address)
        sock = transport.get_extra_info("socket")
        if reset_it:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        else:
            transport.write(b"x")
            await protocol.received(1)
        transport.close()
        await protocol.lost

    async def cycles(count):
        for start in range(0, count, 50):
            # Ephemeral ports of reset connections are free at once; the
            # others wait a minute.
            await asyncio.gather(*(
                cycle(number % 5 > 0) for number in range(50)))
        await until(lambda: served[0] == served[1], "all are lost")
        await settle()
        gc.collect()

    await cycles(500)
    # What the loop opens for itself, at first need, does not grow with them.
    fds, threads, memory = (sockets(), len(native_threads()), resident_kib())
    await cycles(total)
    try:
        await until(lambda: len(sockets()) <= len(fds))
    except AssertionError:
        pytest.fail(f"before: {fds}\nafter: {sockets()}")
    assert len(native_threads()) <= threads
    grown = resident_kib() - memory
    assert grown < 4096, f"{grown} KiB for {total} connections"
    server.close()
    await server.wait_closed()


@pytest.mark.stream
async def test_socket_shut_down_under_a_transport_ends_it(loop):
    loop.set_exception_handler(lambda loop, context: None)
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    ours.shutdown(socket.SHUT_RDWR)
    await asyncio.wait_for(protocol.lost, PATIENCE)
    peer.close()
    assert protocol.calls[-1] == "lost"


@pytest.mark.stream
async def test_memory_per_idle_connection_is_bounded(loop):
    async with transport_and_peer():
        gc.collect()
        before = resident_kib()
        ends = []
        for _ in range(300):
            ours, peer = tcp_socket_pair()
            transport, protocol = await loop.create_connection(
                Recorder, sock=ours)
            ends.append((transport, protocol, peer))
        await settle()
        grown = resident_kib() - before
        for transport, protocol, peer in ends:
            transport.abort()
            await protocol.lost
            peer.close()
        assert grown < 300 * 32, f"{grown} KiB for 300 idle connections"
