# SPDX-License-Identifier: Apache-2.0
"""Helpers of the behaviour tests: flavours of loop, protocols that record,
socket pairs, child interpreters.

Only the standard library is imported, so that child interpreters which need a
flavour can import this module without pytest.
"""

import asyncio
import contextlib
import inspect
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading

PATIENCE = 10.0          # seconds to wait for what must happen
LOOPBACK = "127.0.0.1"
# All of asyncio's transports have is_reading(), not only streams.
ALL_TELL_READING = "is_reading" in vars(
    asyncio.selector_events._SelectorTransport)
SYS_IO_URING_SETUP = 425
# Whether asyncio drops what is written in connection_lost() after a drain.
DROPS_LAST_WORDS = "not self._conn_lost" in inspect.getsource(
    asyncio.selector_events._SelectorSocketTransport)
ENVIRON_LOCK = threading.Lock()     # tests make loops on several threads
# RSLOOP_C_TAKEOVER of the flavours that are not "+takeover".
TAKEOVER = os.environ.get("TEST_TAKEOVER", "auto")
UNDER_ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")


# --- flavours of loop --------------------------------------------------------

class Flavour:
    """A way to make loops: asyncio's own, or ours with one backend.

    `tls` is the TLS engine to ask for, where a test is about TLS."""

    def __init__(self, name, tls=None):
        self.name = name
        self.tls = tls
        backend, _, mode = name.partition("+")
        self.backend = None if backend == "asyncio" else backend
        self.takeover = mode == "takeover"

    @property
    def ours(self):
        return self.backend is not None

    @property
    def id(self):
        engine = f"/{self.tls}" if self.tls else ""
        return f"rsloop_c/{self.name}{engine}" if self.ours else self.name

    def new_loop(self):
        if not self.ours:
            return asyncio.SelectorEventLoop()
        import rsloop_c
        with ENVIRON_LOCK, environ(
                RSLOOP_C_TAKEOVER="always" if self.takeover else TAKEOVER):
            return rsloop_c.new_event_loop(backend=self.backend)

    @property
    def loop_class(self):
        if not self.ours:
            return asyncio.SelectorEventLoop
        import rsloop_c
        return rsloop_c.Loop

    def policy(self):
        if not self.ours:
            return asyncio.DefaultEventLoopPolicy()
        import rsloop_c
        return rsloop_c.EventLoopPolicy()

    def environment(self):
        """The variables that make a child interpreter use this flavour."""
        return {
            "TEST_FLAVOUR": self.name,
            "RSLOOP_C_BACKEND": self.backend or "auto",
            "RSLOOP_C_TAKEOVER": "always" if self.takeover else TAKEOVER,
            "TEST_TAKEOVER": TAKEOVER,
            **({"RSLOOP_C_TLS": self.tls} if self.tls else {}),
        }


FLAVOURS = ("asyncio", "epoll", "io_uring",
            "epoll+takeover", "io_uring+takeover")
TLS_ENGINES = ("python", "openssl", "mbedtls")


def child_flavour():
    return Flavour(os.environ["TEST_FLAVOUR"])


def kernel_refuses_io_uring():
    """Why this kernel gives us no ring, or None. Asked without rsloop_c, so
    that a loop which wrongly falls back cannot skip its own tests."""
    import ctypes  # which subinterpreters of 3.12 cannot load
    libc = ctypes.CDLL(None, use_errno=True)
    params = ctypes.create_string_buffer(120)
    fd = libc.syscall(SYS_IO_URING_SETUP, 1, params)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


@contextlib.contextmanager
def environ(**changes):
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- waiting -----------------------------------------------------------------

async def until(condition, what="the condition"):
    """Give the loop turns until condition() is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.0005)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def settle():
    """Time enough for an event that must not come: an absence cannot be
    awaited. Twenty of the runtime thread's ticks."""
    await asyncio.sleep(0.02)


def run(loop, coro):
    return loop.run_until_complete(asyncio.wait_for(coro, PATIENCE))


# --- protocols that record ---------------------------------------------------

class Recorder(asyncio.Protocol):
    """Records what a transport tells it, in order."""

    keep_open_after_eof = False

    def __init__(self):
        self.transport = None
        self.calls = []
        self.data = bytearray()
        self.lost_with = None
        loop = asyncio.get_running_loop()
        self.made = loop.create_future()
        self.eof = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        assert self.transport is None, "connection_made came twice"
        self.transport = transport
        self.calls.append("made")
        self.made.set_result(transport)

    def data_received(self, data):
        assert isinstance(data, bytes)
        assert data, "data_received came without data"
        self.calls.append("data")
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        if not self.eof.done():
            self.eof.set_result(None)
        return self.keep_open_after_eof

    def connection_lost(self, exc):
        assert self.calls.count("lost") == 0, "connection_lost came twice"
        self.calls.append("lost")
        self.lost_with = exc
        if not self.lost.done():
            self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    async def received(self, count):
        """Everything received, once it is at least count bytes."""
        await until(lambda: len(self.data) >= count,
                    f"{count} bytes (have {len(self.data)})")
        return bytes(self.data)


class HalfOpenRecorder(Recorder):
    keep_open_after_eof = True


class BufferedRecorder(asyncio.BufferedProtocol):
    """A BufferedProtocol that lends a buffer of buffer_size bytes."""

    def __init__(self, buffer_size=4096):
        self.buffer = bytearray(buffer_size)
        self.calls = []
        self.hints = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        assert nbytes > 0
        self.calls.append("data")
        self.data += self.buffer[:nbytes]

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)

    received = Recorder.received


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


class Accepting:
    """A protocol factory that keeps what it made."""

    def __init__(self, protocol=Echo):
        self.protocol = protocol
        self.made = []

    def __call__(self):
        protocol = self.protocol()
        self.made.append(protocol)
        return protocol

    async def count(self, number):
        """The protocols, once number connections were made."""
        await until(lambda: len([p for p in self.made if p.transport])
                    >= number, f"{number} connections")
        return self.made

    async def all_lost(self):
        await asyncio.wait_for(
            asyncio.gather(*(protocol.lost for protocol in self.made)),
            PATIENCE)

    async def end(self):
        for protocol in self.made:
            if protocol.transport is not None and not protocol.lost.done():
                protocol.transport.abort()
        await self.all_lost()


# --- sockets -----------------------------------------------------------------

def tcp_socket_pair():
    """Two connected, non-blocking TCP sockets."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def reset(sock):
    """Close sock so that its peer gets a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


async def _end(transport, protocol):
    lost = getattr(protocol, "lost", None)
    if lost is None:
        transport.abort()
        await turns()
    elif not lost.done():
        # asyncio's abort() fails on a transport that is lost already.
        transport.abort()
        await asyncio.wait_for(lost, PATIENCE)


@contextlib.asynccontextmanager
async def transport_and_peer(protocol_factory=Recorder, **socket_options):
    """A protocol on one end of a TCP connection and a raw socket on the
    other. socket_options: sndbuf, rcvbuf."""
    loop = asyncio.get_running_loop()
    ours, peer = tcp_socket_pair()
    if "sndbuf" in socket_options:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF,
                        socket_options["sndbuf"])
    if "rcvbuf" in socket_options:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                        socket_options["rcvbuf"])
    transport, protocol = await loop.create_connection(protocol_factory,
                                                       sock=ours)
    try:
        yield transport, protocol, peer
    finally:
        await _end(transport, protocol)
        peer.close()


@contextlib.asynccontextmanager
async def tcp_pair(server_factory=Recorder, client_factory=Recorder):
    """The two protocols of one connection through create_server."""
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def make():
        protocol = server_factory()
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(make, LOOPBACK, 0)
    host, port = server.sockets[0].getsockname()
    _, client = await loop.create_connection(client_factory, host, port)
    served = await asyncio.wait_for(accepted, PATIENCE)
    await asyncio.wait_for(served.made, PATIENCE)
    try:
        yield served, client
    finally:
        await _end(client.transport, client)
        await _end(served.transport, served)
        server.close()
        await server.wait_closed()


async def recv_exactly(sock, count):
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        piece = await asyncio.wait_for(loop.sock_recv(sock, 65536), PATIENCE)
        assert piece, f"peer closed after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


async def recv_until_eof(sock):
    loop = asyncio.get_running_loop()
    data = bytearray()
    while True:
        piece = await asyncio.wait_for(loop.sock_recv(sock, 65536), PATIENCE)
        if not piece:
            return bytes(data)
        data += piece


# --- processes ---------------------------------------------------------------

def slowness():
    """How many times longer things take because others use the processors."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def run_python(code, flavour, *options, env=(), timeout=30):
    """Run code in a child interpreter, where new_event_loop() makes a loop of
    the flavour. Returns the CompletedProcess with text output."""
    prelude = ("import asyncio, os, sys\n"
               "import support\n"
               "new_event_loop = support.child_flavour().new_loop\n")
    environment = {**os.environ, **flavour.environment(), **dict(env)}
    environment["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))
    return subprocess.run(
        [sys.executable, *options, "-c", prelude + textwrap.dedent(code)],
        env=environment, timeout=timeout * slowness(), text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# Code for run_python(): forbid(numbers, ERRNO | errno) or forbid(..., KILL).
SECCOMP = """
import ctypes, struct

def forbid(numbers, action):
    # Load the syscall's number; equal to one of ours: action, else allow.
    LD_NR, JEQ, RET, ALLOW = 0x20, 0x15, 0x06, 0x7fff0000
    program = [struct.pack("HBBI", LD_NR, 0, 0, 0)]
    for index, number in enumerate(numbers):
        program.append(struct.pack("HBBI", JEQ, len(numbers) - index, 0,
                                   number))
    program.append(struct.pack("HBBI", RET, 0, 0, ALLOW))
    program.append(struct.pack("HBBI", RET, 0, 0, action))
    code = ctypes.create_string_buffer(b"".join(program))
    filter = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filter, 0, 0) == 0, (
        ctypes.get_errno())

ERRNO, KILL = 0x00050000, 0x80000000
IO_URING = (425, 426, 427)       # setup, enter, register
"""


def open_fds():
    return {fd: _describe_fd(fd) for fd in os.listdir("/proc/self/fd")}


def _describe_fd(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None      # the descriptor of the listing itself


def plain_environ():
    """The environment for programs of others: no sanitizer of ours in them."""
    return {name: value for name, value in os.environ.items()
            if name not in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")}


def _thread_names():
    names = {}
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/comm") as file:
                names[tid] = file.read().strip()
        except OSError:
            continue     # it ended meanwhile
    return names


def looks_up_names():
    """Whether a thread that looks up names is there."""
    return "rsl-resolver" in _thread_names().values()


def native_threads():
    """Names of this process's threads by id, without the pools that look up
    names, make handshakes and do native jobs: their threads stay for some
    seconds on purpose."""
    return {tid: name for tid, name in _thread_names().items()
            if name not in ("rsl-resolver", "rsl-handshake", "rsl-job")}


def resident_kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
