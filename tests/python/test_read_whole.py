# SPDX-License-Identifier: Apache-2.0
"""How large the pieces are in which the loop thread reads. What the runtime
thread reads for it has other sizes, so that none of its flavours is here."""

import socket

import pytest

from support import Recorder, until


@pytest.mark.parametrize("first", [40_000, 56_000, 65_000])
async def test_messages_that_are_there_arrive_whole(loop, first):
    """Whatever came before, and whatever room that made the transport expect."""
    ours, peer = socket.socketpair()
    with peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sizes = []
        transport, protocol = await loop.create_unix_connection(
            Recorder, sock=ours)
        protocol.data_received = lambda data: sizes.append(len(data))
        for size in [first] * 3 + [100_000] * 8:
            expected = sum(sizes) + size
            assert peer.send(b"x" * size) == size
            await until(lambda: sum(sizes) == expected, "the message")  # noqa: B023
        assert sizes[-5:] == [100_000] * 5
        transport.abort()
        await protocol.lost
