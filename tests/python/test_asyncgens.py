# SPDX-License-Identifier: Apache-2.0
"""Asynchronous generators are tracked and closed."""

import asyncio
import gc
import sys

import pytest


async def numbers(log):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        log.append("closed")


def test_shutdown_asyncgens_closes_the_open_ones(loop):
    log = []
    generator = numbers(log)

    async def main():
        assert await generator.__anext__() == 0

    loop.run_until_complete(main())
    assert log == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["closed"]


def test_collected_generator_is_closed_by_the_loop(loop):
    log = []

    async def main():
        generator = numbers(log)
        await generator.__anext__()
        del generator
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert log == ["closed"]


def test_generator_first_iterated_after_shutdown_warns(loop):
    log = []

    async def main():
        await loop.shutdown_asyncgens()
        generator = numbers(log)
        with pytest.warns(ResourceWarning,
                          match="was scheduled after loop.shutdown_asyncgens"):
            await generator.__anext__()
        await generator.aclose()

    loop.run_until_complete(main())


def test_error_while_closing_goes_to_the_exception_handler(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    async def failing():
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    generator = failing()

    async def main():
        await generator.__anext__()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert isinstance(seen[0]["exception"], ZeroDivisionError)
    assert seen[0]["asyncgen"] is generator


def test_hooks_are_set_only_while_the_loop_runs(loop):
    before = sys.get_asyncgen_hooks()

    async def main():
        return sys.get_asyncgen_hooks()

    during = loop.run_until_complete(main())
    assert during.firstiter is not None and during.finalizer is not None
    assert sys.get_asyncgen_hooks() == before


def test_async_for_and_comprehensions_work(loop):
    async def main():
        return [number async for number in numbers([])]

    assert loop.run_until_complete(main()) == list(range(10))
