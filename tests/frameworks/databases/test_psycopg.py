# SPDX-License-Identifier: Apache-2.0
"""psycopg waits by loop.add_reader() and add_writer() alone."""

import asyncio
import contextlib

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from servers import PASSWORD


def target(server, place="tcp", **more):
    host = "127.0.0.1" if place == "tcp" else server.path
    return psycopg.conninfo.make_conninfo(**{
        "host": host, "port": server.port, "user": "tester",
        "password": PASSWORD, "dbname": "postgres", "sslmode": "disable",
        "connect_timeout": 30, **more})


@contextlib.asynccontextmanager
async def connected(server, place="tcp", **more):
    async with await psycopg.AsyncConnection.connect(
            target(server, place, **more), autocommit=True) as db:
        yield db


async def value_of(db, query, *parameters):
    return (await (await db.execute(query, parameters)).fetchone())[0]


@pytest.mark.parametrize("place", ("tcp", "unix"))
async def test_queries(postgresql, place):
    async with connected(postgresql, place) as db:
        assert await value_of(db, "SELECT %s::int + 1", 41) == 42
        cursor = await db.execute(
            "SELECT n, n::text FROM generate_series(1, 1000) n")
        assert await cursor.fetchall() == [
            (n, str(n)) for n in range(1, 1001)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            await db.execute("SELECT 1 / 0")
        assert await value_of(db, "SELECT 7") == 7


@pytest.mark.parametrize("place", ("tcp", "unix"))
async def test_large_value_there_and_back(postgresql, place):
    value = bytes(range(256)) * (8 << 12)  # 8 MiB
    async with connected(postgresql, place) as db:
        cursor = db.cursor(binary=True)
        await cursor.execute("SELECT %b::bytea", (value,))
        assert (await cursor.fetchone())[0] == value


async def test_server_side_cursor(postgresql):
    async with connected(postgresql) as db, db.transaction():
        async with db.cursor(name="served") as cursor:
            cursor.itersize = 100
            await cursor.execute("SELECT generate_series(1, 5000)")
            assert [row[0] async for row in cursor] == list(range(1, 5001))


async def test_stream(postgresql):
    async with connected(postgresql) as db:
        rows = [row[0] async for row in db.cursor().stream(
            "SELECT generate_series(1, 3000)")]
    assert rows == list(range(1, 3001))


async def test_copy_in_and_out(postgresql):
    async with connected(postgresql) as db:
        await db.execute("CREATE TEMP TABLE copied (a int, b text)")
        cursor = db.cursor()
        async with cursor.copy("COPY copied FROM STDIN") as copy:
            for n in range(20000):
                await copy.write_row((n, f"row {n} " + "y" * 200))
        size = 0
        async with cursor.copy("COPY copied TO STDOUT") as copy:
            async for block in copy:
                size += len(block)
        assert size == sum(len(f"{n}\trow {n} ") + 201 for n in range(20000))


async def test_pipeline(postgresql):
    async with connected(postgresql) as db:
        await db.execute("CREATE TEMP TABLE piped (a int)")
        async with db.pipeline():
            for n in range(2000):
                await db.execute("INSERT INTO piped VALUES (%s)", (n,))
        assert await value_of(db, "SELECT sum(a) FROM piped") == (
            sum(range(2000)))


async def test_pipeline_of_large_values(postgresql):
    """Both directions are full at once: writing must not wait for reading."""
    value = "v" * 100_000
    async with connected(postgresql) as db, db.pipeline():
        cursors = [await db.execute("SELECT %s::text", (value,))
                   for _ in range(100)]
        for cursor in cursors:
            assert (await cursor.fetchone())[0] == value


async def test_cancelled_task_cancels_the_query(postgresql):
    async with connected(postgresql) as db, connected(postgresql) as other:
        pid = db.info.backend_pid
        task = asyncio.create_task(db.execute("SELECT pg_sleep(60)"))
        state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        while await value_of(other, state, pid) != "active":
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await value_of(db, "SELECT 2") == 2


async def test_timeout(postgresql):
    async with connected(postgresql) as db:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(db.execute("SELECT pg_sleep(60)"), 0.1)
        assert await value_of(db, "SELECT 3") == 3


async def test_cancel_safe(postgresql):
    async with connected(postgresql) as db, connected(postgresql) as other:
        pid = db.info.backend_pid
        task = asyncio.create_task(db.execute("SELECT pg_sleep(60)"))
        state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        while await value_of(other, state, pid) != "active":
            await asyncio.sleep(0)
        await db.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await task


async def test_notifies(postgresql):
    async with connected(postgresql) as db, connected(postgresql) as other:
        await db.execute("LISTEN psycopg_news")
        for n in range(100):
            await other.execute(f"NOTIFY psycopg_news, '{n}'")
        heard = [notify.payload async for notify in db.notifies(
            timeout=60, stop_after=100)]
        assert heard == [str(n) for n in range(100)]
        assert [n async for n in db.notifies(timeout=0.05)] == []


async def test_pool_shared_by_many_tasks(postgresql):
    async def work(pool, n):
        async with pool.connection() as db:
            return await value_of(db, "SELECT %s::int * 2", n)

    async with AsyncConnectionPool(
            target(postgresql), min_size=2, max_size=8, timeout=60) as pool:
        results = await asyncio.gather(*(work(pool, n) for n in range(300)))
    assert results == [n * 2 for n in range(300)]


async def test_tls(postgresql):
    async with connected(
            postgresql, host="localhost", sslmode="verify-full",
            sslrootcert=postgresql.ca_file) as db:
        assert await value_of(
            db, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        value = "z" * (4 << 20)
        assert await value_of(db, "SELECT %s::text", value) == value


async def test_connection_that_the_server_ends(postgresql):
    async with connected(postgresql) as other:
        db = await psycopg.AsyncConnection.connect(target(postgresql))
        await other.execute("SELECT pg_terminate_backend(%s)",
                            (db.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await db.execute("SELECT 1")
        assert db.closed


async def test_two_threads_on_two_loops(postgresql):
    def in_thread():
        async def main():
            async with connected(postgresql) as db:
                return [await value_of(db, "SELECT %s::int", n)
                        for n in range(200)]

        return asyncio.run(main())

    assert await asyncio.gather(*(
        asyncio.to_thread(in_thread) for _ in range(3))) == (
            [list(range(200))] * 3)


async def test_connect_timeout(silent_port):
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={silent_port} user=x connect_timeout=2")
