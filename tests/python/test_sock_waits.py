# SPDX-License-Identifier: Apache-2.0
"""loop.sock_* while they wait: cancelled, closed, pushed aside by a reader or
by each other, their socket closed and its number reused."""

import asyncio
import inspect
import os
import socket
import sys

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    recv_exactly,
    reset,
    run,
    settle,
    tcp_socket_pair,
    turns,
    until,
)


@pytest.fixture
def listener():
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        yield listener


def is_waiting(task):
    return not task.done() and task._fut_waiter is not None


async def waiting(loop, coro):
    """A task that has made its first steps and waits."""
    task = loop.create_task(coro)
    await until(lambda: task.done() or is_waiting(task))
    assert not task.done()
    return task


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- the coroutine -----------------------------------------------------------

def calls(loop, sock):
    """Each method with good arguments."""
    made = {
        "sock_recv": lambda: loop.sock_recv(sock, 10),
        "sock_recv_into": lambda: loop.sock_recv_into(sock, bytearray(10)),
        "sock_sendall": lambda: loop.sock_sendall(sock, b"x"),
        "sock_connect": lambda: loop.sock_connect(sock, (LOOPBACK, 1)),
        "sock_accept": lambda: loop.sock_accept(sock),
    }
    if sys.version_info >= (3, 11):
        made |= {
            "sock_recvfrom": lambda: loop.sock_recvfrom(sock, 10),
            "sock_recvfrom_into":
                lambda: loop.sock_recvfrom_into(sock, bytearray(10)),
            "sock_sendto": lambda: loop.sock_sendto(sock, b"x", (LOOPBACK, 1)),
        }
    return made


METHODS = sorted(calls(None, None))


@pytest.mark.parametrize("name", METHODS)
def test_call_without_await_does_nothing_but_warn(loop, pair, name):
    pair[1].send(b"data")
    with pytest.warns(RuntimeWarning, match=f"{name}' was never awaited"):
        coro = calls(loop, pair[0])[name]()
        assert inspect.iscoroutine(coro) and asyncio.iscoroutine(coro)
        assert coro.__name__ == name
        del coro
    assert pair[0].recv(10) == b"data"
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


@pytest.mark.parametrize("name", METHODS)
def test_wrong_arguments_do_not_raise_before_the_first_step(loop, name):
    method = getattr(loop, name)
    count = len(inspect.signature(method).parameters)
    method(*[None] * count).close()


async def test_coroutine_cannot_be_awaited_twice(loop, pair):
    pair[1].send(b"data")
    coro = loop.sock_recv(pair[0], 10)
    await coro
    with pytest.raises(RuntimeError, match="already awaited"):
        await coro


async def test_data_that_is_there_comes_without_a_turn(loop, pair):
    pair[1].send(b"data")
    await until(lambda: pair[0].recv(4, socket.MSG_PEEK) == b"data")
    with pytest.raises(StopIteration) as stop:
        loop.sock_recv(pair[0], 10).send(None)
    assert stop.value.value == b"data"


@pytest.mark.asyncio_is_worse("it leaves the reader behind")
@pytest.mark.parametrize("end", ["close", "throw", "collect"])
def test_coroutine_that_ends_while_it_waits_leaves_no_reader(loop, pair, end):
    async def first_step():
        coro = loop.sock_recv(pair[0], 10)
        future = coro.send(None)
        assert asyncio.isfuture(future)
        if end == "close":
            coro.close()
        elif end == "throw":
            with pytest.raises(ZeroDivisionError):
                coro.throw(ZeroDivisionError())
        else:
            del coro
        assert loop.remove_reader(pair[0]) is False
    run(loop, first_step())


# --- cancellation ------------------------------------------------------------

@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_accept"])
async def test_task_cancelled_before_its_first_step_does_nothing(
        loop, pair, name):
    pair[1].send(b"data")
    task = loop.create_task(calls(loop, pair[0])[name]())
    await cancelled(task)
    assert await loop.sock_recv(pair[0], 10) == b"data"


@pytest.mark.parametrize("name", [name for name in METHODS if "recv" in name])
async def test_cancelled_wait_leaves_no_reader_and_no_lock(loop, pair, name):
    buffer = bytearray(10)
    call = {
        "sock_recv_into": lambda: loop.sock_recv_into(pair[0], buffer),
        "sock_recvfrom_into": lambda: loop.sock_recvfrom_into(pair[0], buffer),
    }.get(name) or calls(loop, pair[0])[name]
    task = await waiting(loop, call())
    await cancelled(task)
    buffer.extend(b"not locked")
    assert loop.remove_reader(pair[0]) is False
    pair[1].send(b"data")
    assert await loop.sock_recv(pair[0], 10) == b"data"


async def test_cancelled_send_leaves_no_writer_and_no_lock(loop, pair):
    data = bytearray(16 << 20)
    task = await waiting(loop, loop.sock_sendall(pair[0], data))
    with pytest.raises(BufferError):
        data.extend(b"locked")
    await cancelled(task)
    data.extend(b"not locked")
    assert loop.remove_writer(pair[0]) is False


@pytest.mark.asyncio_is_worse("it loses what it has read")
async def test_cancellation_after_readiness_loses_no_data(loop, pair):
    coro = loop.sock_recv(pair[0], 10)
    future = coro.send(None)
    pair[1].send(b"data")
    await until(future.done)
    with pytest.raises(asyncio.CancelledError):
        coro.throw(asyncio.CancelledError())
    assert await loop.sock_recv(pair[0], 10) == b"data"


@pytest.mark.asyncio_is_worse("it loses what it has accepted")
async def test_cancellation_after_readiness_loses_no_connection(loop,
                                                                listener):
    coro = loop.sock_accept(listener)
    future = coro.send(None)
    with socket.create_connection(listener.getsockname()) as client:
        await until(future.done)
        with pytest.raises(asyncio.CancelledError):
            coro.throw(asyncio.CancelledError())
        conn, address = await asyncio.wait_for(loop.sock_accept(listener),
                                               PATIENCE)
        conn.close()
        assert address == client.getsockname()


async def test_timeout_ends_a_wait(loop, pair):
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(pair[0], 10), 0.001)
    assert loop.remove_reader(pair[0]) is False
    pair[1].send(b"data")
    assert await loop.sock_recv(pair[0], 10) == b"data"


async def test_thousand_cancelled_waits_leave_nothing(loop, pair):
    for _ in range(1000):
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert loop.remove_reader(pair[0]) is False
    pair[1].send(b"data")
    assert await recv_exactly(pair[0], 4) == b"data"


# --- two at once -------------------------------------------------------------

async def test_second_wait_takes_the_place_of_the_first(loop, pair):
    first = await waiting(loop, loop.sock_recv(pair[0], 10))
    second = await waiting(loop, loop.sock_recv(pair[0], 10))
    pair[1].send(b"data")
    assert await asyncio.wait_for(second, PATIENCE) == b"data"
    assert not first.done()
    third = await waiting(loop, loop.sock_recv(pair[0], 10))
    await cancelled(first)
    pair[1].send(b"more")
    assert await asyncio.wait_for(third, PATIENCE) == b"more"


async def test_both_directions_wait_at_once(loop, pair):
    data = os.urandom(8 << 20)

    async def exchange(sock):
        sending = loop.create_task(loop.sock_sendall(sock, data))
        received = await recv_exactly(sock, len(data))
        await sending
        return received

    assert await asyncio.gather(*map(exchange, pair)) == [data, data]


async def test_readers_callback_takes_the_place_of_a_wait(loop, pair):
    called = asyncio.Event()
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    loop.add_reader(pair[0], called.set)
    pair[1].send(b"data")
    await asyncio.wait_for(called.wait(), PATIENCE)
    assert not task.done()
    assert loop.remove_reader(pair[0]) is True
    await cancelled(task)
    assert await loop.sock_recv(pair[0], 10) == b"data"


async def test_wait_takes_the_place_of_a_readers_callback(loop, pair):
    called = []
    loop.add_reader(pair[0], called.append, 1)
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    pair[1].send(b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"data"
    pair[1].send(b"more")
    await settle()
    assert called == []
    assert loop.remove_reader(pair[0]) is False


async def test_remove_reader_ends_a_wait_for_good(loop, pair):
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    assert loop.remove_reader(pair[0]) is True
    pair[1].send(b"data")
    await settle()
    assert not task.done()
    await cancelled(task)
    assert await loop.sock_recv(pair[0], 10) == b"data"


async def test_writers_callback_goes_on_beside_a_wait(loop, pair):
    called = []
    loop.add_writer(pair[0], called.append, 1)
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    await until(lambda: len(called) > 2)
    pair[1].send(b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"data"
    count = len(called)
    await until(lambda: len(called) > count + 2)
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    assert loop.remove_writer(pair[0]) is True
    count = len(called)
    await settle()
    assert len(called) == count
    pair[1].send(b"more")
    assert await asyncio.wait_for(task, PATIENCE) == b"more"
    assert loop.remove_writer(pair[0]) is False


async def test_wait_beside_a_wait_for_room(loop, pair):
    sending = await waiting(loop, loop.sock_sendall(pair[0], bytes(16 << 20)))
    for _ in range(3):
        receiving = await waiting(loop, loop.sock_recv(pair[0], 10))
        pair[1].send(b"data")
        assert await asyncio.wait_for(receiving, PATIENCE) == b"data"
        assert not sending.done()
    assert len(await recv_exactly(pair[1], 16 << 20)) == 16 << 20
    await asyncio.wait_for(sending, PATIENCE)


# --- ends --------------------------------------------------------------------

async def test_end_of_file_ends_a_wait(loop, pair):
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    pair[1].close()
    assert await asyncio.wait_for(task, PATIENCE) == b""


async def test_reset_ends_a_wait(loop, pair):
    task = await waiting(loop, loop.sock_recv(pair[0], 10))
    reset(pair[1])
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(task, PATIENCE)
    assert loop.remove_reader(pair[0]) is False


async def test_reset_ends_a_wait_for_room(loop, pair):
    task = await waiting(loop, loop.sock_sendall(pair[0], bytes(16 << 20)))
    reset(pair[1])
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await asyncio.wait_for(task, PATIENCE)
    assert loop.remove_writer(pair[0]) is False


# --- numbers that are reused -------------------------------------------------

def reuse(fd):
    """A connected pair of which the first has the number fd."""
    left, right = tcp_socket_pair()
    if left.fileno() != fd:
        with left:
            os.dup2(left.fileno(), fd, inheritable=False)
        left = socket.socket(fileno=fd)
        left.setblocking(False)
    return left, right


async def test_number_reused_between_two_operations(loop):
    left, right = tcp_socket_pair()
    fd = left.fileno()
    for _ in range(5):
        task = await waiting(loop, loop.sock_recv(left, 10))
        right.send(b"data")
        assert await asyncio.wait_for(task, PATIENCE) == b"data"
        left.close()
        right.close()
        left, right = reuse(fd)
    left.close()
    right.close()


async def test_number_reused_while_a_dup_keeps_the_first_open(loop):
    old, old_peer = tcp_socket_pair()
    fd = old.fileno()
    task = await waiting(loop, loop.sock_recv(old, 10))
    old_peer.send(b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"data"
    with old.dup() as dup, old_peer:
        old.close()
        new, new_peer = reuse(fd)
        with new, new_peer:
            task = await waiting(loop, loop.sock_recv(new, 10))
            old_peer.send(b"to the dup")
            await settle()
            assert not task.done()
            new_peer.send(b"new")
            assert await asyncio.wait_for(task, PATIENCE) == b"new"
        assert await loop.sock_recv(dup, 10) == b"to the dup"


@pytest.mark.asyncio_is_worse("it watches the closed socket on")
async def test_number_reused_while_somebody_waits(loop):
    old, old_peer = tcp_socket_pair()
    fd = old.fileno()
    stale = await waiting(loop, loop.sock_recv(old, 10))
    old.close()
    new, new_peer = reuse(fd)
    with new, new_peer, old_peer:
        task = await waiting(loop, loop.sock_recv(new, 10))
        new_peer.send(b"data")
        assert await asyncio.wait_for(task, PATIENCE) == b"data"
        assert not stale.done()
        task = await waiting(loop, loop.sock_recv(new, 10))
        await cancelled(stale)
        new_peer.send(b"more")
        assert await asyncio.wait_for(task, PATIENCE) == b"more"


@pytest.mark.stream
@pytest.mark.asyncio_is_worse("its wait removes the transport's reader")
async def test_stale_wait_does_not_touch_a_transport(loop):
    from support import Recorder
    old, old_peer = tcp_socket_pair()
    fd = old.fileno()
    stale = await waiting(loop, loop.sock_recv(old, 10))
    old.close()
    new, new_peer = reuse(fd)
    transport, protocol = await loop.create_connection(Recorder, sock=new)
    await turns()
    await cancelled(stale)
    new_peer.send(b"heard")
    assert await protocol.received(5) == b"heard"
    transport.abort()
    await protocol.lost
    new_peer.close()
    old_peer.close()


@pytest.mark.asyncio_is_worse("it has no figures")
async def test_unread_data_that_nobody_waits_for_costs_no_turns(loop, pair):
    task = await waiting(loop, loop.sock_recv(pair[0], 1))
    pair[1].send(b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"d"
    await settle()
    before = loop._runtime_info()["turns"]
    await settle()
    assert loop._runtime_info()["turns"] - before < 10
    assert await loop.sock_recv(pair[0], 10) == b"ata"


# --- loops -------------------------------------------------------------------

def test_wait_goes_on_in_the_next_run_of_the_loop(loop, pair):
    task = loop.create_task(loop.sock_recv(pair[0], 10))
    loop.run_until_complete(settle())
    pair[1].send(b"data")
    assert run(loop, task) == b"data"


def test_pending_waits_of_a_closed_loop_are_dropped(loop_factory, pair):
    loop = loop_factory()
    coro = loop.sock_recv(pair[0], 10)

    async def first_step():
        coro.send(None)

    loop.run_until_complete(first_step())
    loop.close()
    coro.close()


def test_interrupt_loses_no_wait(loop, pair):
    task = loop.create_task(loop.sock_recv(pair[0], 10))
    loop.run_until_complete(settle())
    pair[1].send(b"data")

    def interrupt():
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert run(loop, task) == b"data"
