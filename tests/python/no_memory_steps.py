# SPDX-License-Identifier: Apache-2.0
"""Single calls into the extension, for failing allocations of the interpreter.

A step prepares on a loop and yields what is to be called while they fail; after
the yield it cleans up. No Python code runs in between: CPython itself does not
survive a failure in every frame. So callbacks are builtins."""

import operator
import os
import socket
import time
import types

import support

MUCH = bytes(3_000_000)


def protocol():
    got = []
    return types.SimpleNamespace(
        got=got, connection_made=got.append, data_received=got.append,
        eof_received=bool, connection_lost=got.append,
        datagram_received=operator.is_, error_received=got.append,
        pause_writing=got.clear, resume_writing=got.clear)


def turns(loop, count=4):
    for _ in range(count):
        loop.call_soon(bool)
        loop._run_once()


def connected(loop, reads=True):
    ours, peer = support.tcp_socket_pair()
    told = protocol()
    transport = loop._make_socket_transport(ours, told)
    if reads:
        turns(loop)
    return transport, told, peer


def stream(loop, prepare, call):
    """A step over a stream: call(transport) gives what is called."""
    transport, told, peer = connected(loop)
    prepare(transport, peer)
    yield call(transport)
    transport.abort()
    turns(loop)
    assert transport.get_protocol() is None
    peer.close()


def nothing(transport, peer):
    pass


def on_stream(name, *args):
    def step(loop):
        def call(transport):
            method = getattr(transport, name)
            return lambda: method(*args)
        yield from stream(loop, nothing, call)
    step.__name__ = name
    return step


def on_event(name, prepare):
    """A step in which the loop meets what prepare(transport, peer) did."""
    def step(loop):
        yield from stream(loop, prepare, lambda transport: loop._run_once)
    step.__name__ = name
    return step


def paused_with_data(transport, peer):
    transport.pause_reading()
    peer.send(b"x" * 1000)


def full(transport, peer):
    transport.write(MUCH)
    while peer.recv(1 << 22) == b"":
        pass
    time.sleep(0.001)
    transport._loop.call_soon(bool)      # the kernel may not be that far


def full_and_closing(transport, peer):
    full(transport, peer)
    transport.close()


def callbacks(loop):
    loop.call_soon(bool)
    loop.call_soon(list)
    loop.call_soon_threadsafe(bool)
    loop.call_later(0, bool)
    yield loop._run_once
    turns(loop)


def schedule(name, *args):
    def step(loop):
        method = getattr(loop, name)
        yield lambda: method(*args)
        turns(loop)
    step.__name__ = name
    return step


def timer_cancelled(loop):
    timer = loop.call_later(100, bool)
    yield timer.cancel
    timer.cancel()


def make_transport(loop):
    ours, peer = support.tcp_socket_pair()
    made = []
    yield lambda: made.append(loop._make_socket_transport(ours, protocol()))
    turns(loop)
    for transport in made:
        transport.abort()
    turns(loop)
    ours.close()
    peer.close()


def connection_made(loop):
    transport, told, peer = connected(loop, reads=False)
    yield loop._run_once
    turns(loop)
    transport.abort()
    turns(loop)
    peer.close()


def accepted(loop):
    listener = socket.create_server((support.LOOPBACK, 0))
    listener.setblocking(False)
    told = protocol()
    loop._start_serving(iter([told]).__next__, listener)
    client = socket.create_connection(listener.getsockname())
    turns(loop, 1)
    yield loop._run_once
    turns(loop)
    for transport in [thing for thing in told.got
                      if hasattr(thing, "abort")]:
        transport.abort()
    client.close()
    loop._remove_reader(listener.fileno())
    turns(loop)
    listener.close()


def start_serving(loop):
    listener = socket.create_server((support.LOOPBACK, 0))
    listener.setblocking(False)
    yield lambda: loop._start_serving(bool, listener)
    loop._remove_reader(listener.fileno())
    listener.close()


def reader_added(loop):
    ours, peer = support.tcp_socket_pair()
    fd = ours.fileno()
    yield lambda: loop._add_reader(fd, bool)
    loop._remove_reader(fd)
    ours.close()
    peer.close()


def reader_called(loop):
    ours, peer = support.tcp_socket_pair()
    loop._add_reader(ours.fileno(), bool)
    peer.send(b"x")
    yield loop._run_once
    loop._remove_reader(ours.fileno())
    ours.close()
    peer.close()


def datagram_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((support.LOOPBACK, 0))
    sock.setblocking(False)
    return sock


def datagram_transport(loop, sock):
    return loop._open_datagram_transport(
        sock, protocol(), None, None,
        {"socket": None, "sockname": None, "peername": None})


def datagram_opened(loop):
    sock = datagram_socket()
    made = []
    yield lambda: made.append(datagram_transport(loop, sock))
    turns(loop)
    for transport in made:
        transport.abort()
    turns(loop)
    sock.close()


def datagram_sent(loop):
    sock, peer = datagram_socket(), datagram_socket()
    transport = datagram_transport(loop, sock)
    turns(loop)
    name = peer.getsockname()
    yield lambda: transport.sendto(b"x", name)
    transport.abort()
    turns(loop)
    peer.close()


def datagram_received(loop):
    sock, peer = datagram_socket(), datagram_socket()
    transport = datagram_transport(loop, sock)
    turns(loop)
    peer.sendto(b"x", sock.getsockname())
    yield loop._run_once
    transport.abort()
    turns(loop)
    peer.close()


def datagram_ended(name):
    def step(loop):
        transport = datagram_transport(loop, datagram_socket())
        turns(loop)
        yield getattr(transport, name)
        transport.abort()
        turns(loop)
        assert transport.get_protocol() is None
    step.__name__ = f"datagram_{name}"
    return step


def pipes(loop):
    to_read, to_write = os.pipe()
    ends = open(to_read, "rb", 0), open(to_write, "wb", 0)
    return ends, (loop._make_read_pipe_transport(ends[0], protocol()),
                  loop._make_write_pipe_transport(ends[1], protocol()))


def finish_pipes(loop, transports):
    transports[0].close()
    transports[1].abort()
    turns(loop)


def pipe_made(loop):
    to_read, to_write = os.pipe()
    ends = open(to_read, "rb", 0), open(to_write, "wb", 0)
    made = []
    yield lambda: made.append(
        loop._make_read_pipe_transport(ends[0], protocol()))
    turns(loop)
    for transport in made:
        transport.close()
    turns(loop)
    for end in ends:
        end.close()


def pipe_read(loop):
    _, transports = pipes(loop)
    turns(loop)
    transports[1].write(b"x" * 10_000)
    yield loop._run_once
    finish_pipes(loop, transports)


def pipe_written(loop):
    _, transports = pipes(loop)
    turns(loop)
    yield lambda: transports[1].write(bytearray(200_000))
    finish_pipes(loop, transports)


def pipe_closed(place):
    def step(loop):
        _, transports = pipes(loop)
        turns(loop)
        yield transports[place].close
        finish_pipes(loop, transports)
        assert transports[place].get_protocol() is None
    step.__name__ = f"pipe_{place}_closed"
    return step


def pipe_drained(loop):
    _, transports = pipes(loop)
    turns(loop)
    transports[0].pause_reading()
    transports[1].write(bytearray(200_000))
    os.read(transports[0].get_extra_info("pipe").fileno(), 1 << 20)
    yield loop._run_once
    finish_pipes(loop, transports)


def name_asked(loop):
    futures = []
    yield lambda: futures.append(
        loop._getaddrinfo("127.0.0.1", "80", 0, socket.SOCK_STREAM, 0, 0))
    for future in futures:
        while not future.done():
            turns(loop, 1)


def name_told(loop):
    future = loop._getaddrinfo("127.0.0.1", "80", 0, socket.SOCK_STREAM, 0, 0)
    time.sleep(0.01)
    yield loop._run_once
    turns(loop)
    future.cancel()


ALL = [
    schedule("call_soon", bool), schedule("call_soon", operator.is_, 1, 2),
    schedule("call_later", 0, bool), schedule("call_at", 0.0, bool, 1),
    schedule("call_soon_threadsafe", bool), callbacks, timer_cancelled,
    make_transport, connection_made,
    on_stream("write", b"x"), on_stream("write", bytearray(b"x")),
    on_stream("write", memoryview(bytearray(3_000_000))),
    on_stream("writelines", [b"x", bytearray(b"y"), memoryview(b"z")]),
    on_stream("write_eof"), on_stream("close"), on_stream("abort"),
    on_stream("pause_reading"), on_stream("__repr__"),
    on_stream("get_extra_info", "socket"),
    on_stream("get_extra_info", "peername"),
    on_stream("set_write_buffer_limits", 100, 10),
    on_event("data", lambda transport, peer: peer.send(b"x" * 1000)),
    on_event("much", lambda transport, peer: peer.send(b"x" * 200_000)),
    on_event("eof", lambda transport, peer: peer.shutdown(socket.SHUT_WR)),
    on_event("reset", lambda transport, peer: support.reset(peer)),
    on_event("drained", full),
    on_event("closing", full_and_closing),
    on_event("paused", paused_with_data),
    accepted, start_serving, reader_added, reader_called,
    datagram_opened, datagram_sent, datagram_received,
    datagram_ended("close"), datagram_ended("abort"),
    pipe_made, pipe_read, pipe_written, pipe_drained, pipe_closed(0),
    pipe_closed(1), name_asked, name_told,
]
