# SPDX-License-Identifier: Apache-2.0
"""What is played with failing allocations by native code: each function of
rsloop_c.h that makes something says MemoryError or NOMEM, and what it took is over
exactly once. native_probe has to be importable."""

import asyncio
import os

import native_probe as probe

import support

EPOLLIN = 1


class Recorder:
    """Counts what was told; answers with what `make` makes, else with 1."""

    def __init__(self, make=None):
        self.told = []
        self.make = make

    def __call__(self, *what):
        self.told.append(what[0])
        return self.make() if what[0] == "make" else 1


async def over(count, recorder, *names):
    """One of `names` has been told for each of `count`, and no more."""
    for _ in range(10_000):
        if sum(map(recorder.told.count, names)) == count:
            break
        await asyncio.sleep(0)
    assert sum(map(recorder.told.count, names)) == count, (count, recorder.told)


async def futures_are_made(loop, arm):
    recorder, handles, made = Recorder(), [], 0
    arm()
    try:
        for kind in "future", "local", "local-", "blocking":
            awaitable, handle = probe.make(kind, 0, recorder)
            made += 1
            if handle:
                handles.append(handle)
            if kind == "future":
                assert probe.future(handle, "complete", True) == "OK"
            if kind == "blocking":
                probe.work("go")
            await awaitable
        awaitable, handle = probe.make("future", 0, recorder)
        made += 1
        handles.append(handle)
        probe.future(handle, "fail", True, 5, "text")
        try:
            await awaitable
        except OSError as exc:
            assert exc.errno == 5
    finally:
        for handle in handles:
            probe.future(handle, "release", True)
        await over(made, recorder, "free")


async def calls_are_queued(loop, arm):
    recorder = Recorder(make=loop.create_future)
    handles, locals_, calls, awaits = [], None, 0, 0
    arm()
    try:
        locals_ = probe.current_locals()
        for _ in range(2):
            status = probe.call_soon(locals_, recorder, True)
            assert status in ("OK", "NOMEM"), status
            calls += status == "OK"
            status, handle = probe.await_soon(locals_, recorder, True)
            assert status in ("OK", "NOMEM"), status
            if status == "OK":
                awaits += 1
                handles.append(handle)
                await over(awaits, recorder, "make")
                assert probe.await_op(handle, "cancel", True) == "OK"
        handles.append(probe.into_future(locals_, asyncio.sleep(0), recorder,
                                         True))
        awaits += 1
    finally:
        for handle in handles:
            probe.await_op(handle, "release", True)
        if locals_ is not None:
            probe.locals_unref(locals_, True)
        await over(calls, recorder, "run")
        await over(awaits, recorder, "done")


async def sources_are_started(loop, arm):
    locals_, begun = None, []
    reader, writer = os.pipe()
    os.write(writer, b"x")
    arm()
    try:
        locals_ = probe.current_locals()
        probe.runtime_start(locals_)
        for what in "post", "timer", "timer-", "watch", "blocking":
            status, source, tally = probe.begin(
                what, locals_, reader, EPOLLIN, 0, 0, True)
            assert status in ("OK", "NOMEM"), status
            begun.append((status, source, tally))
    finally:
        for status, source, tally in begun:
            if source:
                probe.source(source, 0, True)
            wanted = int(status == "OK")
            while probe.tally(tally)[1] != wanted:
                await asyncio.sleep(0)
            probe.tally_free(tally)
        if locals_ is not None:
            probe.locals_unref(locals_, True)
        os.close(reader)
        os.close(writer)


async def loop_closes_with_all_of_it(loop, arm):
    """Another loop, which never runs: what was taken is told of its end."""
    recorder, other, futures = Recorder(), None, 0
    taken, handles, awaits, locals_ = 0, [], [], None
    arm()
    try:
        other = support.child_flavour().new_loop()
        locals_ = probe.locals_new(other)
        for kind in "future", "local":
            handles.append(probe.make(kind, locals_, recorder)[1])
            futures += 1
        taken += probe.call_soon(locals_, recorder, True) == "OK"
        status, handle = probe.await_soon(locals_, recorder, True)
        if status == "OK":
            taken += 1
            awaits.append(handle)
    finally:
        if other is not None:
            other.close()
        for handle in handles:
            probe.future(handle, "release", True)
        for handle in awaits:
            probe.await_op(handle, "release", True)
        if locals_ is not None:
            probe.locals_unref(locals_, True)
        await over(futures, recorder, "cancel")
        await over(taken, recorder, "drop", "done")
        # What is left comes home with the next call.
        probe.locals_unref(probe.current_locals(), True)
        await over(futures, recorder, "free")


ALL = [futures_are_made, calls_are_queued, sources_are_started,
       loop_closes_with_all_of_it]
