# SPDX-License-Identifier: Apache-2.0
"""The read side of a transport: delivery, order, pause and resume, end."""

import asyncio
import os
import sys
import warnings

import pytest

from support import (
    PATIENCE,
    HalfOpenRecorder,
    Recorder,
    reset,
    settle,
    tcp_pair,
    transport_and_peer,
    turns,
)

pytestmark = pytest.mark.stream


async def test_data_is_delivered_as_bytes(loop):
    async with transport_and_peer() as (_, protocol, peer):
        peer.send(b"hello")
        assert await protocol.received(5) == b"hello"
        assert protocol.calls == ["made", "data"]


async def test_stream_arrives_whole_and_in_order(loop):
    data = os.urandom(5_000_000)
    async with transport_and_peer() as (_, protocol, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        assert await protocol.received(len(data)) == data
        await sending


async def test_stream_in_small_pieces_arrives_in_order(loop):
    async with transport_and_peer() as (_, protocol, peer):
        for number in range(2000):
            peer.send(b"%05d" % number)
            if number % 50 == 0:
                await asyncio.sleep(0)
        expected = b"".join(b"%05d" % number for number in range(2000))
        assert await protocol.received(len(expected)) == expected


async def test_delivered_bytes_are_never_changed_afterwards(loop):
    """A receive buffer that is used again must not show through."""
    class Keeper(Recorder):
        pieces = None

        def data_received(self, data):
            super().data_received(data)
            if self.pieces is None:
                self.pieces = []
            self.pieces.append(data)

    async with transport_and_peer(Keeper) as (_, protocol, peer):
        for number in range(200):
            peer.send(bytes([number]) * 1000)
            await protocol.received((number + 1) * 1000)
        assert b"".join(protocol.pieces) == bytes(protocol.data)


async def test_is_reading_tells_the_state(loop):
    async with transport_and_peer() as (transport, _, _):
        assert transport.is_reading() is True
        transport.pause_reading()
        assert transport.is_reading() is False
        transport.resume_reading()
        assert transport.is_reading() is True
        transport.close()
        assert transport.is_reading() is False


async def test_paused_transport_delivers_nothing(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"held back")
        await settle()
        assert protocol.data == b""
        transport.resume_reading()
        assert await protocol.received(9) == b"held back"


async def test_pause_inside_data_received_holds_the_rest(loop):
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async with transport_and_peer(Pausing) as (transport, protocol, peer):
        peer.send(b"first")
        await protocol.received(5)
        peer.send(b"second")
        await settle()
        assert protocol.data == b"first"
        transport.resume_reading()
        assert await protocol.received(11) == b"firstsecond"


async def test_pause_and_resume_many_times_loses_nothing(loop):
    data = os.urandom(2_000_000)
    async with transport_and_peer() as (transport, protocol, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        while len(protocol.data) < len(data):
            transport.pause_reading()
            before = len(protocol.data)
            await turns(3)
            assert len(protocol.data) == before
            transport.resume_reading()
            await turns(3)
        assert protocol.data == data
        await sending


async def test_resume_does_not_deliver_synchronously(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"x")
        await settle()
        transport.resume_reading()
        assert protocol.data == b""
        await protocol.received(1)


async def test_pause_twice_and_resume_twice_are_harmless(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        transport.pause_reading()
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        peer.send(b"x")
        await protocol.received(1)


async def test_pause_after_close_is_harmless(loop):
    async with transport_and_peer() as (transport, protocol, _):
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        await protocol.lost
        transport.pause_reading()
        transport.resume_reading()


async def test_end_of_file_is_delivered_after_the_last_byte(loop):
    async with transport_and_peer() as (_, protocol, peer):
        peer.send(b"last")
        peer.close()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        assert protocol.data == b"last"
        assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_end_of_file_waits_while_paused(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"last")
        peer.close()
        await settle()
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_paused_before_the_first_turn_receives_nothing(flavour, loop):
    if sys.version_info < (3, 11, 7) and not flavour.ours:
        pytest.skip("asyncio up to early 3.11 starts reading in spite of it")

    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with transport_and_peer(Paused) as (transport, protocol, peer):
        peer.send(b"early")
        await settle()
        assert protocol.data == b""
        assert not transport.is_reading()
        transport.resume_reading()
        assert await protocol.received(5) == b"early"


async def test_close_inside_data_received_stops_delivery(loop):
    class Closing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async with transport_and_peer(Closing) as (_, protocol, peer):
        peer.send(b"first")
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.data == b"first"
        assert protocol.calls == ["made", "data", "lost"]
        assert protocol.lost_with is None


async def test_nothing_is_delivered_after_close(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        peer.send(b"never seen")
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)
        await settle()
        assert protocol.calls == ["made", "lost"]


async def test_nothing_is_delivered_after_abort(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        peer.send(b"never seen")
        transport.abort()
        await asyncio.wait_for(protocol.lost, PATIENCE)
        await settle()
        assert protocol.calls == ["made", "lost"]


async def test_connection_lost_comes_in_a_later_turn_than_close(loop):
    async with transport_and_peer() as (transport, protocol, _):
        transport.close()
        assert "lost" not in protocol.calls
        await protocol.lost
        assert protocol.calls == ["made", "lost"]


async def test_close_many_times_is_one_close(loop):
    async with transport_and_peer() as (transport, protocol, _):
        transport.close()
        transport.close()
        transport.abort()
        await protocol.lost
        transport.close()
        transport.abort()
        await settle()
        assert protocol.calls == ["made", "lost"]


async def test_is_closing_is_true_from_close_on(loop):
    async with transport_and_peer() as (transport, protocol, _):
        assert transport.is_closing() is False
        transport.close()
        assert transport.is_closing() is True
        await protocol.lost
        assert transport.is_closing() is True


async def test_reset_by_the_peer_is_reported_once(loop):
    async with transport_and_peer() as (_, protocol, peer):
        reset(peer)
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ConnectionResetError)
        await settle()
        assert protocol.calls == ["made", "lost"]


async def test_reset_while_paused_is_reported_at_the_latest_on_resume(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        await turns()
        reset(peer)
        await settle()
        transport.resume_reading()
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls[-1] == "lost"


async def test_exception_in_data_received_closes_the_connection(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError("of data_received")

    async with transport_and_peer(Failing) as (transport, protocol, peer):
        peer.send(b"x")
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ZeroDivisionError)
        assert seen[0]["exception"] is exc
        assert seen[0]["transport"] is transport
        assert seen[0]["protocol"] is protocol
        assert seen[0]["message"] == \
            "Fatal error: protocol.data_received() call failed."


async def test_exception_in_eof_received_closes_the_connection(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(Recorder):
        def eof_received(self):
            super().eof_received()
            raise ZeroDivisionError("of eof_received")

    async with transport_and_peer(Failing) as (_, protocol, peer):
        peer.close()
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ZeroDivisionError)
        assert seen[0]["message"] == \
            "Fatal error: protocol.eof_received() call failed."


async def test_exception_in_connection_lost_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError("of connection_lost")

    async with transport_and_peer(Failing) as (transport, protocol, _):
        transport.close()
        await protocol.lost
        await settle()
        assert isinstance(seen[0]["exception"], ZeroDivisionError)


def test_keyboard_interrupt_in_data_received_leaves_the_loop(loop):
    class Interrupting(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise KeyboardInterrupt

    async def main():
        async with transport_and_peer(Interrupting) as (_, protocol, peer):
            peer.send(b"x")
            await protocol.lost

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))


async def test_protocol_can_be_changed(loop):
    async with transport_and_peer() as (transport, first, peer):
        assert transport.get_protocol() is first
        peer.send(b"one")
        await first.received(3)
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        peer.send(b"two")
        assert await second.received(3) == b"two"
        assert first.data == b"one"
        transport.set_protocol(first)


async def test_protocol_changed_inside_data_received_gets_the_rest(loop):
    second = Recorder()

    class Switching(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(second)

    async with transport_and_peer(Switching) as (transport, first, peer):
        peer.send(b"one")
        await first.received(3)
        peer.send(b"two")
        assert await second.received(3) == b"two"
        transport.set_protocol(first)


async def test_protocol_methods_set_on_the_instance_are_used(loop):
    """Libraries assign data_received after connection_made."""
    async with transport_and_peer() as (transport, protocol, peer):
        seen = []
        protocol.data_received = seen.append
        transport.set_protocol(protocol)
        peer.send(b"x")
        while not seen:
            await asyncio.sleep(0.0005)
        assert seen == [b"x"]


async def test_both_ends_in_one_loop_echo_a_long_conversation(loop):
    from support import Echo
    async with tcp_pair(Echo) as (_, client):
        for number in range(500):
            client.transport.write(b"%04d" % number)
            await client.received((number + 1) * 4)
        assert client.data == b"".join(b"%04d" % n for n in range(500))


async def test_idle_connection_stays_open(loop):
    async with transport_and_peer(HalfOpenRecorder) as (_, protocol, _peer):
        await settle()
        assert protocol.calls == ["made"]


async def test_transport_is_released_after_connection_lost(loop):
    import gc
    import weakref

    async def connect_and_close():
        async with transport_and_peer() as (transport, protocol, peer):
            peer.send(b"x")
            await protocol.received(1)
            return weakref.ref(transport), weakref.ref(protocol)

    refs = await connect_and_close()
    await turns()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


async def test_unclosed_transport_warns_when_collected(loop):
    import gc

    from support import tcp_socket_pair
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    del protocol.transport
    # Only a paused transport that nothing watches can be collected at all.
    transport.pause_reading()
    await settle()
    protocol.made = protocol.lost = protocol.eof = None
    del protocol, ours
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    peer.close()
    assert any(warning.category is ResourceWarning
               and "unclosed transport" in str(warning.message)
               for warning in caught)
