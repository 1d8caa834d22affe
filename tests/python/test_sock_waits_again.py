# SPDX-License-Identifier: Apache-2.0
"""loop.sock_recv() on sockets that have been waited for before: the loop looks
at them before it arms anything."""

import asyncio

import pytest

from support import PATIENCE, settle, tcp_socket_pair, turns, until


@pytest.fixture
def pairs():
    pairs = [tcp_socket_pair() for _ in range(12)]
    yield pairs
    for left, right in pairs:
        left.close()
        right.close()


def is_waiting(task):
    return not task.done() and task._fut_waiter is not None


async def ask(loop, left, right):
    """A round trip, after which the loop knows the socket."""
    task = loop.create_task(loop.sock_recv(left, 10))
    await until(lambda: is_waiting(task))
    right.send(b"first")
    assert await asyncio.wait_for(task, PATIENCE) == b"first"


async def test_waits_that_begin_again_end_with_what_comes(loop, pairs):
    for left, right in pairs:
        await ask(loop, left, right)
    for rounds in range(4):  # what has come before the loop looks, and later
        tasks = [loop.create_task(loop.sock_recv(left, 10)) for left, _ in pairs]
        loop.call_soon(lambda: [right.send(b"early") for _, right in pairs[::2]])
        await turns(rounds)
        for _, right in pairs[1::2]:
            right.send(b"later")
        received = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert received == [b"early", b"later"] * 6


async def test_wait_that_begins_again_ends_while_callbacks_keep_the_loop_busy(
    loop, pair
):
    busy = True

    def go_on():
        if busy:
            loop.call_soon(go_on)

    go_on()
    try:
        for _ in range(3):
            await ask(loop, *pair)
    finally:
        busy = False


async def test_wait_that_begins_again_is_cancelled_or_closed_at_once(loop, pairs):
    for left, right in pairs[:3]:
        await ask(loop, left, right)
    (left, right), (closed, closed_peer), (other, other_peer) = pairs[:3]
    tasks = [loop.create_task(loop.sock_recv(s, 10)) for s in (left, closed, other)]
    await until(lambda: all(map(is_waiting, tasks)))
    tasks[0].cancel()
    closed.close()
    right.send(b"kept")
    other_peer.send(b"heard")
    assert await asyncio.wait_for(tasks[2], PATIENCE) == b"heard"
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await loop.sock_recv(left, 10) == b"kept"
    # Nothing of ours keeps it open.
    end = loop.sock_recv(closed_peer, 10)
    assert await asyncio.wait_for(end, PATIENCE) == b""
    await settle()
    assert not tasks[1].done()
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_reader_and_wait_of_the_other_side_after_a_wait(loop, pair):
    left, right = pair
    await ask(loop, left, right)
    calls = []
    task = loop.create_task(loop.sock_recv(left, 10))
    await until(lambda: is_waiting(task))
    loop.add_writer(left, calls.append, 1)
    await until(lambda: len(calls) > 2)
    right.send(b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"data"
    assert loop.remove_writer(left)
    await ask(loop, left, right)
