# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import io
import ssl

import asyncpg
import pytest
from servers import PASSWORD

PLACES = ("tcp", "unix")


def options(server, place="tcp"):
    host = "127.0.0.1" if place == "tcp" else server.path
    return {"host": host, "port": server.port, "user": "tester",
            "password": PASSWORD, "database": "postgres",
            "ssl": False, "timeout": 30}


@contextlib.asynccontextmanager
async def connected(server, **more):
    connection = await asyncpg.connect(**{**options(server), **more})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("place", PLACES)
async def test_queries(postgresql, place):
    async with connected(postgresql, **options(postgresql, place)) as db:
        assert await db.fetchval("SELECT $1::int + 1", 41) == 42
        rows = await db.fetch(
            "SELECT n, n::text AS t FROM generate_series(1, 1000) n")
        assert [(row["n"], row["t"]) for row in rows] == [
            (n, str(n)) for n in range(1, 1001)]
        with pytest.raises(asyncpg.DivisionByZeroError):
            await db.fetchval("SELECT 1 / 0")
        assert await db.fetchval("SELECT 'still here'") == "still here"


@pytest.mark.parametrize("place", PLACES)
async def test_large_value_there_and_back(postgresql, place):
    value = bytes(range(256)) * (16 << 12)  # 16 MiB
    async with connected(postgresql, **options(postgresql, place)) as db:
        assert await db.fetchval("SELECT $1::bytea", value) == value


async def test_large_result(postgresql):
    async with connected(postgresql) as db:
        rows = await db.fetch(
            "SELECT n, repeat('x', 100) FROM generate_series(1, 200000) n")
        assert len(rows) == 200000 and rows[-1][0] == 200000


async def test_cursor_in_transaction(postgresql):
    async with connected(postgresql) as db, db.transaction():
        seen = [row[0] async for row in db.cursor(
            "SELECT generate_series(1, 5000)", prefetch=50)]
    assert seen == list(range(1, 5001))


async def test_prepared_statement_executemany(postgresql):
    async with connected(postgresql) as db:
        await db.execute("CREATE TEMP TABLE pairs (a int, b text)")
        await db.executemany("INSERT INTO pairs VALUES ($1, $2)",
                             [(n, "b" * (n % 100)) for n in range(5000)])
        assert await db.fetchrow("SELECT count(*), sum(a) FROM pairs") == (
            5000, sum(range(5000)))


async def test_copy_in_and_out(postgresql):
    records = [(n, f"record {n} " + "y" * 200) for n in range(50000)]
    async with connected(postgresql) as db:
        await db.execute("CREATE TEMP TABLE copied (a int, b text)")
        await db.copy_records_to_table("copied", records=records)
        target = io.BytesIO()
        await db.copy_from_query(
            "SELECT * FROM copied ORDER BY a", output=target, format="csv")
        lines = target.getvalue().decode().splitlines()
        assert len(lines) == 50000
        assert lines[49999] == "49999," + records[49999][1]


async def test_copy_from_a_coroutine_that_is_slow(postgresql):
    async def source():
        for n in range(500):
            await asyncio.sleep(0)
            yield f"{n}\n".encode()

    async with connected(postgresql) as db:
        await db.execute("CREATE TEMP TABLE slow (a int)")
        await db.copy_to_table("slow", source=source(), format="csv")
        assert await db.fetchval("SELECT count(*) FROM slow") == 500


async def test_timeout_cancels_the_query_on_the_server(postgresql):
    async with connected(postgresql) as db:
        with pytest.raises(asyncio.TimeoutError):
            await db.fetch("SELECT pg_sleep(60)", timeout=0.1)
        assert await db.fetchval("SELECT 1") == 1


async def test_cancelled_task_cancels_the_query(postgresql):
    async with connected(postgresql) as db, connected(postgresql) as other:
        pid = db.get_server_pid()
        task = asyncio.create_task(db.execute("SELECT pg_sleep(60)"))
        state = "SELECT state FROM pg_stat_activity WHERE pid = $1"
        while await other.fetchval(state, pid) != "active":
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await db.fetchval("SELECT 2") == 2


async def test_connection_that_the_server_ends(postgresql):
    async with connected(postgresql) as db, connected(postgresql) as other:
        ended = asyncio.Event()
        db.add_termination_listener(lambda connection: ended.set())
        await other.execute("SELECT pg_terminate_backend($1)",
                            db.get_server_pid())
        await ended.wait()
        assert db.is_closed()


async def test_pool_shared_by_many_tasks(postgresql):
    async def work(pool, n):
        async with pool.acquire() as db:
            return await db.fetchval("SELECT $1::int * 2", n)

    async with asyncpg.create_pool(
            **options(postgresql), min_size=2, max_size=8) as pool:
        results = await asyncio.gather(*(work(pool, n) for n in range(500)))
    assert results == [n * 2 for n in range(500)]


async def test_listen_notify(postgresql):
    heard = asyncio.Queue()
    async with connected(postgresql) as db, connected(postgresql) as other:
        await db.add_listener(
            "news", lambda *arguments: heard.put_nowait(arguments[3]))
        for n in range(100):
            await other.execute(f"NOTIFY news, '{n}'")
        assert [await heard.get() for _ in range(100)] == [
            str(n) for n in range(100)]


async def test_tls(postgresql):
    context = ssl.create_default_context(cafile=postgresql.ca_file)
    value = b"z" * (4 << 20)
    async with connected(postgresql, host="localhost", ssl=context) as db:
        assert await db.fetchval(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await db.fetchval("SELECT $1::bytea", value) == value


async def test_tls_refuses_an_unknown_authority(postgresql):
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncpg.connect(**{**options(postgresql),
                                 "ssl": ssl.create_default_context()})


async def test_wrong_password(postgresql):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**{**options(postgresql), "password": "no"})


async def test_connect_timeout(silent_port):
    with pytest.raises(asyncio.TimeoutError):
        await asyncpg.connect(
            host="127.0.0.1", port=silent_port, user="tester", password="x",
            ssl=False, timeout=0.1)
