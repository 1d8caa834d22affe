# SPDX-License-Identifier: Apache-2.0
"""Tests of ours that are coroutine functions, on the loop that loop_plugin.py
set."""

import asyncio
import inspect
import os

import rsloop_c

TEST_SECONDS = 120


def pytest_pyfunc_call(pyfuncitem):
    """A test that is a coroutine function runs by asyncio.run()."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run():
        # Else a test that says nothing about the loop could pass.
        loop = asyncio.get_running_loop()
        ours = isinstance(loop, rsloop_c.Loop)
        assert ours == (os.environ["TEST_LOOP"] != "asyncio")
        await asyncio.wait_for(pyfuncitem.function(**arguments), TEST_SECONDS)

    asyncio.run(run())
    return True
