# SPDX-License-Identifier: Apache-2.0
"""Loops in subinterpreters that have a GIL of their own."""

import sys

import pytest

from support import run_python

if sys.version_info < (3, 13):
    pytest.skip("new in 3.12, which crashes at its end with asyncio alone too",
                allow_module_level=True)

# What creates, runs and destroys them has a new name in each version.
PRELUDE = """
import textwrap, threading
if sys.version_info >= (3, 13):
    import _interpreters
    def create():
        return _interpreters.create("isolated")
else:
    import _xxsubinterpreters as _interpreters
    def create():
        return _interpreters.create(isolated=True)

def run(code):
    interpreter = create()
    try:
        prelude = f"import sys; sys.path[:] = {sys.path!r}\\n"
        failed = _interpreters.run_string(
            interpreter, prelude + textwrap.dedent(code))
        assert failed is None, failed
    finally:
        _interpreters.destroy(interpreter)

PROGRAM = '''
    import asyncio, socket, support
    loop = support.child_flavour().new_loop()

    async def echo(reader, writer):
        async for line in reader:
            writer.write(line)
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        for number in range(100):
            line = b"line %d\\\\n" % number
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await loop.getaddrinfo("127.0.0.1", 80)
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.close()
'''
"""


def child(flavour, code):
    done = run_python(PRELUDE + code, flavour)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


def test_server_and_client_in_a_subinterpreter(flavour):
    child(flavour, """
for _ in range(3):
    run(PROGRAM)
print("good")
""")


def test_subinterpreters_beside_a_loop_of_the_main_one(flavour):
    child(flavour, """
loop = new_event_loop()

async def main():
    await asyncio.gather(*(
        loop.run_in_executor(None, run, PROGRAM) for _ in range(3)))

loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
print("good")
""")


@pytest.mark.asyncio_is_worse("it warns of its loop")
def test_subinterpreter_that_ends_with_an_open_loop(flavour):
    child(flavour, """
for _ in range(3):
    run('''
        import asyncio, support
        loop = support.child_flavour().new_loop()
        loop.run_until_complete(asyncio.start_server(print, "127.0.0.1", 0))
        loop.call_later(3600, print)
    ''')
print("good")
""")
