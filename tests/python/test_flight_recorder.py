# SPDX-License-Identifier: Apache-2.0
"""The last events of a connection: Loop.flight_recorder."""

import asyncio
import gc

import pytest

from support import Echo, Recorder, environ, run, tcp_pair, transport_and_peer, turns

pytestmark = pytest.mark.asyncio_is_worse("it has no flight recorder")


def what(transport):
    return [event[1:] for event in transport.get_extra_info("flight_recorder")]


def test_it_has_what_happened_in_order(loop):
    loop.flight_recorder = 100

    async def main():
        before = loop.time()
        async with tcp_pair(Echo, Recorder) as (served, client):
            client.transport.write(b"four")
            await client.received(4)
            client.transport.writelines([b"a", b"b"])
            await client.received(6)
            client.transport.pause_reading()
            client.transport.resume_reading()
            client.transport.write_eof()
            await client.lost
            events = what(client.transport)
            times = [event[0] for event
                     in client.transport.get_extra_info("flight_recorder")]
            assert ("read", 4) in what(served.transport)
            assert ("eof", 0) in what(served.transport)
        assert times == sorted(times)
        assert before <= times[0] <= times[-1] <= loop.time()
        assert events[0] == ("connected", 0)
        own = [event for event in events
               if event[0] not in ("connected", "read", "writable")]
        assert own == [
            ("write", 4), ("writelines", 2), ("pause_reading", 0),
            ("resume_reading", 0), ("write_eof", 0), ("eof", 0), ("close", 0),
            ("lost", 0)]
        assert sum(n for name, n in events if name == "read") == 6

    run(loop, main())


def test_the_newest_are_kept(loop):
    loop.flight_recorder = 3

    async def main():
        async with transport_and_peer() as (transport, _, _peer):
            for size in range(1, 10):
                transport.write(bytes(size))
            assert what(transport) == [("write", 7), ("write", 8), ("write", 9)]

    run(loop, main())


@pytest.mark.parametrize("fails", ["data_received", "eof_received", "connection_lost"])
def test_an_unhandled_exception_brings_it(loop, fails, asyncio_errors):
    loop.flight_recorder = 10
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    class Failing(Recorder):
        pass

    def fail(self, *arguments):
        self.lost.done() or self.lost.set_result(None)
        raise RuntimeError(fails)

    setattr(Failing, fails, fail)

    async def main():
        async with transport_and_peer(Failing) as (transport, protocol, peer):
            peer.send(b"some data")
            if fails != "data_received":
                await protocol.received(9)
                peer.close()
            await protocol.lost
            await turns()

    run(loop, main())
    context, = contexts
    record = context["flight_recorder"]
    assert [event[1] for event in record][:2] == ["connected", "read"]
    assert record[1][2] == 9
    assert "read 9" in repr(record)
    assert record[-1][1] == ("lost" if fails == "connection_lost" else "error")


def test_the_default_report_shows_it(loop, asyncio_errors):
    loop.flight_recorder = 10

    class Failing(Recorder):
        def data_received(self, data):
            raise RuntimeError("on purpose")

    async def main():
        async with transport_and_peer(Failing) as (_, protocol, peer):
            peer.send(b"some data")
            await protocol.lost

    run(loop, main())
    record, = asyncio_errors
    asyncio_errors.clear()
    text = record.getMessage()
    assert "connected" in text
    assert "read 9" in text


def test_it_is_off_at_first_and_for_connections_that_are_there(loop):
    async def main():
        assert loop.flight_recorder == 0
        async with transport_and_peer() as (transport, _, _peer):
            loop.flight_recorder = 5
            transport.write(b"x")
            assert transport.get_extra_info("flight_recorder") is None
            assert transport.get_extra_info("flight_recorder", 1) == 1

    run(loop, main())


@pytest.mark.parametrize("value", [-1, 65537, 1 << 70])
def test_what_is_no_number_of_events_is_refused(loop, value):
    with pytest.raises((ValueError, OverflowError)):
        loop.flight_recorder = value
    with pytest.raises(TypeError):
        loop.flight_recorder = "10"
    assert loop.flight_recorder == 0


@pytest.mark.parametrize("value", ["-1", "many", "65537", "1.5"])
def test_the_variable_must_be_a_number(loop_factory, value):
    with environ(RSLOOP_C_FLIGHT_RECORDER=value), \
            pytest.raises(ValueError, match="RSLOOP_C_FLIGHT_RECORDER"):
        loop_factory()


def test_the_variable_sets_it(loop_factory):
    with environ(RSLOOP_C_FLIGHT_RECORDER="12"):
        loop = loop_factory()
    assert loop.flight_recorder == 12
    loop.close()


def test_a_transport_that_is_garbage_frees_it(loop):
    loop.flight_recorder = 1000

    async def main():
        for _ in range(20):
            async with transport_and_peer() as (transport, _, _peer):
                transport.write(b"x")
        gc.collect()

    run(loop, main())
    assert asyncio.all_tasks(loop) == set()
