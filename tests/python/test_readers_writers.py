# SPDX-License-Identifier: Apache-2.0
"""add_reader, add_writer and their removal, over every kind of fd."""

import asyncio
import os
import socket

import pytest

from support import settle, until


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


async def test_reader_is_called_when_data_arrives(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(10)))
    right.send(b"hello")
    await until(lambda: seen)
    assert seen == [b"hello"]
    assert loop.remove_reader(left) is True


async def test_reader_is_not_called_without_data(loop, pair):
    seen = []
    loop.add_reader(pair[0], seen.append, "called")
    await settle()
    assert seen == []
    loop.remove_reader(pair[0])


async def test_reader_gets_its_arguments(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda *args: (left.recv(10), seen.append(args)),
                    1, "two")
    right.send(b"x")
    await until(lambda: seen)
    assert seen == [(1, "two")]
    loop.remove_reader(left)


async def test_reader_is_called_as_long_as_data_remains(loop, pair):
    """Level-triggered: three bytes read singly are three calls."""
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    right.send(b"abc")
    await until(lambda: len(seen) == 3)
    assert seen == [b"a", b"b", b"c"]
    loop.remove_reader(left)


async def test_reader_sees_the_end_of_file(loop, pair):
    left, right = pair
    seen = []

    def readable():
        seen.append(left.recv(1))
        loop.remove_reader(left)

    loop.add_reader(left, readable)
    right.close()
    await until(lambda: seen)
    assert seen == [b""]


async def test_reader_replaced_is_the_only_one_called(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, seen.append, "old")
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    right.send(b"x")
    await until(lambda: seen)
    assert seen == [b"x"]
    loop.remove_reader(left)


async def test_removed_reader_is_not_called(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, seen.append, "called")
    assert loop.remove_reader(left) is True
    right.send(b"x")
    await settle()
    assert seen == []
    assert left.recv(1) == b"x"


async def test_reader_may_remove_itself(loop, pair):
    left, right = pair
    seen = []

    def once():
        seen.append("called")
        loop.remove_reader(left)

    loop.add_reader(left, once)
    right.send(b"xyz")
    await until(lambda: seen)
    await settle()
    assert seen == ["called"]


async def test_reader_removed_by_another_of_the_same_turn_is_not_called(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    ends = [left for left, _ in pairs]
    seen = []

    def first_come(index):
        seen.append(index)
        for end in ends:
            loop.remove_reader(end)

    for index, end in enumerate(ends):
        loop.add_reader(end, first_come, index)
    for _, right in pairs:
        right.send(b"x")
    await until(lambda: seen)
    await settle()
    assert len(seen) == 1
    for left, right in pairs:
        left.close(), right.close()


async def test_reader_can_be_added_again_after_removal(loop, pair):
    left, right = pair
    seen = []
    for number in range(3):
        loop.add_reader(left, lambda: seen.append(left.recv(1)))
        right.send(bytes([number]))
        await until(lambda: len(seen) == number + 1)
        assert loop.remove_reader(left) is True
    assert seen == [b"\0", b"\1", b"\2"]


async def test_writer_is_called_when_there_is_room(loop, pair):
    seen = []
    loop.add_writer(pair[0], lambda: (seen.append("writable"),
                                      loop.remove_writer(pair[0])))
    await until(lambda: seen)
    await settle()
    assert seen == ["writable"]


async def test_writer_of_a_full_socket_waits_for_room(loop, pair):
    left, right = pair
    try:
        while True:
            left.send(b"x" * 65536)
    except BlockingIOError:
        pass
    seen = []
    loop.add_writer(left, lambda: (seen.append("writable"),
                                   loop.remove_writer(left)))
    await settle()
    assert seen == []
    try:
        while True:
            right.recv(65536)
    except BlockingIOError:
        pass
    await until(lambda: seen)


async def test_reader_and_writer_on_one_fd_are_independent(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    loop.add_writer(left, lambda: (seen.append("writable"),
                                   loop.remove_writer(left)))
    await until(lambda: "writable" in seen)
    right.send(b"x")
    await until(lambda: b"x" in seen)
    assert loop.remove_writer(left) is False
    assert loop.remove_reader(left) is True


async def test_removing_the_reader_keeps_the_writer(loop, pair):
    left, _ = pair
    seen = []
    loop.add_reader(left, seen.append, "reader")
    loop.add_writer(left, seen.append, "writer")
    loop.remove_reader(left)
    await until(lambda: seen)
    assert loop.remove_writer(left) is True
    assert set(seen) == {"writer"}


async def test_removing_what_was_never_added_returns_false(loop, pair):
    assert loop.remove_reader(pair[0]) is False
    assert loop.remove_writer(pair[0]) is False


class Numbered:
    """fileno() gives what int() understands."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self

    def __int__(self):
        return self.fd


@pytest.mark.parametrize("form", ["socket", "int", "number", "file object"])
async def test_fd_may_be_given_as(loop, pair, form):
    left, right = pair
    file = {"socket": left, "int": left.fileno(),
            "number": Numbered(left.fileno()),
            "file object": left.makefile("rb", buffering=0)}[form]
    seen = []
    loop.add_reader(file, lambda: seen.append(left.recv(1)))
    right.send(b"x")
    await until(lambda: seen)
    # Any form names the same registration.
    assert loop.remove_reader(left.fileno()) is True
    if form == "file object":
        file.close()


async def test_blocking_mode_of_the_fd_is_left_alone(loop):
    left, right = socket.socketpair()
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    right.send(b"x")
    await until(lambda: seen)
    assert os.get_blocking(left.fileno()) is True
    loop.remove_reader(left)
    assert os.get_blocking(left.fileno()) is True
    left.close(), right.close()


async def test_reader_of_a_blocking_fd_is_never_called_without_data(loop):
    """A stale report would make its recv block the whole loop."""
    left, right = socket.socketpair()
    seen = []
    loop.add_reader(left, lambda: seen.append(left.recv(1)))
    for number in range(200):
        right.send(bytes([number]))
        await until(lambda: len(seen) == number + 1)
    loop.remove_reader(left)
    left.close(), right.close()


async def test_pipe_can_be_watched(loop):
    reader, writer = os.pipe()
    seen = []
    loop.add_reader(reader, lambda: seen.append(os.read(reader, 10)))
    os.write(writer, b"through a pipe")
    await until(lambda: b"".join(seen) == b"through a pipe")
    os.close(writer)
    await until(lambda: seen[-1] == b"")
    loop.remove_reader(reader)
    os.close(reader)


async def test_writer_of_a_pipe_without_reader_is_called(loop):
    reader, writer = os.pipe()
    os.close(reader)
    seen = []
    loop.add_writer(writer, lambda: (seen.append("error"),
                                     loop.remove_writer(writer)))
    await until(lambda: seen)
    os.close(writer)


async def test_terminal_can_be_watched(loop):
    import pty
    master, slave = pty.openpty()
    seen = []
    loop.add_reader(master, lambda: seen.append(os.read(master, 100)))
    os.write(slave, b"typed")
    await until(lambda: seen)
    assert seen[0] == b"typed"
    loop.remove_reader(master)
    os.close(master), os.close(slave)


async def test_regular_file_is_refused(loop, tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        with pytest.raises(PermissionError):
            loop.add_writer(file, print)
        assert loop.remove_reader(file) is False


async def test_closed_fd_is_refused(loop):
    reader, writer = os.pipe()
    os.close(reader), os.close(writer)
    with pytest.raises(OSError):
        loop.add_reader(reader, print)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize("wrong", [-1, "3", None, 1.5, object()])
async def test_what_is_no_fd_is_a_value_error(loop, method, wrong):
    with pytest.raises((ValueError, TypeError)) as expected:
        asyncio.SelectorEventLoop._ensure_fd_no_transport(loop, wrong)
        loop_of_asyncio_would_select(wrong)
    with pytest.raises(expected.type):
        getattr(loop, method)(wrong, print)


def loop_of_asyncio_would_select(fd):
    import selectors
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)


@pytest.mark.stream
@pytest.mark.parametrize("method", ["add_reader", "add_writer",
                                    "remove_reader", "remove_writer"])
async def test_fd_of_a_transport_is_refused(loop, method):
    from support import transport_and_peer
    async with transport_and_peer() as (transport, _, _):
        fd = transport.get_extra_info("socket").fileno()
        args = (print,) if method.startswith("add") else ()
        with pytest.raises(RuntimeError, match="is used by transport"):
            getattr(loop, method)(fd, *args)


async def test_fd_number_reused_after_close_gets_its_own_events(loop):
    """An fd closed without remove_reader, its number reused by another."""
    left, right = socket.socketpair()
    number = left.fileno()
    loop.add_reader(left, print)
    loop.remove_reader(left)
    left.close(), right.close()
    reader, writer = os.pipe()
    if reader != number:
        os.dup2(reader, number)
        os.close(reader)
    seen = []
    loop.add_reader(number, lambda: seen.append(os.read(number, 100)))
    os.write(writer, b"of the pipe")
    await until(lambda: seen)
    assert seen == [b"of the pipe"]
    loop.remove_reader(number)
    os.close(number), os.close(writer)


async def test_many_fds_are_watched_at_once(loop):
    pairs = [socket.socketpair() for _ in range(200)]
    seen = set()
    for index, (left, _) in enumerate(pairs):
        loop.add_reader(left, lambda i=index, s=left: (s.recv(1), seen.add(i)))
    for _, right in pairs:
        right.send(b"x")
    await until(lambda: len(seen) == 200)
    for left, right in pairs:
        assert loop.remove_reader(left)
        left.close(), right.close()


async def test_urgent_traffic_does_not_starve_callbacks(loop, pair):
    """A reader that never drains its fd must leave turns for others."""
    left, right = pair
    right.send(b"never read")
    loop.add_reader(left, lambda: None)
    for _ in range(100):
        await asyncio.sleep(0)
    loop.remove_reader(left)


def test_reader_registered_before_the_run_works(loop):
    left, right = socket.socketpair()
    loop.add_reader(left, loop.stop)
    right.send(b"x")
    loop.run_forever()
    assert loop.remove_reader(left)
    left.close(), right.close()


def test_readers_survive_from_one_run_to_the_next(loop):
    left, right = socket.socketpair()
    seen = []
    loop.add_reader(left, lambda: (seen.append(left.recv(1)), loop.stop()))
    for number in range(3):
        right.send(bytes([number]))
        loop.run_forever()
    assert seen == [b"\0", b"\1", b"\2"]
    loop.remove_reader(left)
    left.close(), right.close()


def test_close_forgets_the_readers(loop):
    left, right = socket.socketpair()
    loop.add_reader(left, print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_reader(left, print)
    left.close(), right.close()


async def test_remove_reader_after_the_callback_was_cancelled_in_flight(
        loop, pair):
    """Ready, but removed before its turn came."""
    left, right = pair
    seen = []
    loop.add_reader(left, seen.append, "called")
    right.send(b"x")
    loop.call_soon(loop.remove_reader, left)
    await settle()
    assert len(seen) <= 1
