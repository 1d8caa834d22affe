# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib

import pytest
import redis.asyncio as redis
from servers import PASSWORD


@contextlib.asynccontextmanager
async def connected(server, place="tcp", **more):
    where = ({"host": "127.0.0.1", "port": server.port} if place == "tcp"
             else {"unix_socket_path": server.path})
    async with redis.Redis(password=PASSWORD, **where, **more) as client:
        yield client


@pytest.mark.parametrize("place", ("tcp", "unix"))
async def test_commands(redis_server, place):
    async with connected(redis_server, place) as db:
        assert await db.set("key", b"\x00value\r\n")
        assert await db.get("key") == b"\x00value\r\n"
        assert await db.incrby("counter:" + place, 5) == 5
        with pytest.raises(redis.ResponseError):
            await db.incr("key")
        assert await db.ping()


@pytest.mark.parametrize("place", ("tcp", "unix"))
async def test_large_value(redis_server, place):
    value = bytes(range(256)) * (16 << 12)  # 16 MiB
    async with connected(redis_server, place) as db:
        await db.set("large", value)
        assert await db.get("large") == value


@pytest.mark.parametrize("transaction", (False, True))
async def test_pipeline(redis_server, transaction):
    async with connected(redis_server) as db:
        async with db.pipeline(transaction=transaction) as pipe:
            for n in range(5000):
                pipe.set(f"p{n}", n).get(f"p{n}")
            answers = await pipe.execute()
    assert answers[1::2] == [b"%d" % n for n in range(5000)]


async def test_watch_sees_a_change(redis_server):
    async with connected(redis_server) as db, db.pipeline() as pipe:
        await pipe.watch("watched")
        await db.set("watched", 1)
        pipe.multi()
        pipe.set("watched", 2)
        with pytest.raises(redis.WatchError):
            await pipe.execute()


async def test_pubsub(redis_server):
    async with connected(redis_server) as db, db.pubsub() as channel:
        await channel.subscribe("news")
        assert (await channel.get_message(timeout=30))["type"] == "subscribe"
        for n in range(200):
            assert await db.publish("news", n) == 1
        heard = []
        async for message in channel.listen():
            heard.append(int(message["data"]))
            if len(heard) == 200:
                break
        assert heard == list(range(200))
        assert await channel.get_message(timeout=0.05) is None


async def test_blocking_pop_wakes(redis_server):
    async with connected(redis_server) as db:
        task = asyncio.create_task(db.blpop("jobs", timeout=60))
        while (await db.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0)
        await db.rpush("jobs", "job")
        assert tuple(await task) == (b"jobs", b"job")


async def test_blocking_pop_times_out(redis_server):
    async with connected(redis_server) as db:
        assert await db.blpop("nothing", timeout=0.1) is None


async def test_cancelled_command_leaves_the_client_usable(redis_server):
    async with connected(redis_server) as db:
        task = asyncio.create_task(db.blpop("never", timeout=60))
        while (await db.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await db.echo("after") == b"after"


async def test_socket_timeout(redis_server):
    async with connected(redis_server, socket_timeout=0.2, retry=None) as db:
        with pytest.raises(redis.TimeoutError):
            await db.blpop("never", timeout=60)


async def test_pool_shared_by_many_tasks(redis_server):
    pool = redis.BlockingConnectionPool(
        host="127.0.0.1", port=redis_server.port, password=PASSWORD,
        max_connections=8, timeout=60)
    async with redis.Redis.from_pool(pool) as db:
        answers = await asyncio.gather(
            *(db.echo(str(n)) for n in range(1000)))
    assert answers == [b"%d" % n for n in range(1000)]


async def test_scan_iter(redis_server):
    async with connected(redis_server) as db:
        await db.mset({f"scan:{n}": n for n in range(3000)})
        seen = {key async for key in db.scan_iter("scan:*")}
    assert len(seen) == 3000


async def test_connection_that_the_server_ends(redis_server):
    async with connected(redis_server, single_connection_client=True) as db, (
            connected(redis_server)) as other:
        identity = await db.client_id()
        await other.client_kill_filter(_id=identity)
        # It notices, and connects again by itself.
        assert await db.client_id() != identity


async def test_wrong_password(redis_server):
    async with redis.Redis(
            port=redis_server.port, password="no", retry=None) as db:
        with pytest.raises(redis.AuthenticationError):
            await db.ping()
