# SPDX-License-Identifier: Apache-2.0
"""Runs in a child interpreter: a scenario again and again, in which the first,
second, third... allocation fails; after each the loop has to work.

sweep() prints what was wrong; nothing is what a test wants to see."""

import asyncio
import ctypes
import faulthandler
import gc
import os
import sys
import warnings

import support

SECONDS = 0.2            # until a scenario that waits in vain is given up
# Who was told of an end may meet what is left of it.
CONSEQUENCES = (MemoryError, OSError, asyncio.CancelledError,
                asyncio.InvalidStateError, asyncio.IncompleteReadError,
                EOFError)


class Extension:
    """malloc() and its relatives in the extension: fail_alloc.c."""

    def __init__(self):
        import rsloop_c._core
        self.library = ctypes.CDLL(None)
        self.library.fail_alloc_live.restype = ctypes.c_long
        with open("/proc/self/maps") as file:
            ranges = [line.split()[0].split("-") for line in file
                      if line.rstrip().endswith(rsloop_c._core.__file__)]
        places = [int(place, 16) for place in sum(ranges, [])]
        self.library.fail_alloc_watch(ctypes.c_size_t(min(places)),
                                      ctypes.c_size_t(max(places)))

    def arm(self, nth):
        self.library.fail_alloc_arm(ctypes.c_long(nth))

    def disarm(self, nth):
        failed = self.library.fail_alloc_failed()
        self.library.fail_alloc_arm(0)
        return bool(failed)

    def live(self):
        return self.library.fail_alloc_live()


class Interpreter:
    """Every allocation of the interpreter, and so of its objects."""

    def __init__(self):
        import _testcapi
        self.set = _testcapi.set_nomemory
        self.unset = _testcapi.remove_mem_hooks

    def arm(self, nth):
        if nth > 0:
            self.set(nth - 1, nth)

    def disarm(self, nth):
        """Whether one failed. If not, one of these does."""
        if nth == 0:
            return False
        try:
            for _ in range(nth + 1):
                bytes(600)
            return True
        except MemoryError:
            return False
        finally:
            self.unset()

    def live(self):
        return 0


class Sweep:
    def __init__(self, failing):
        self.failing = failing
        self.make_loop = support.child_flavour().new_loop
        self.wrong = []
        self.nth = 0
        self.armed = False
        sys.unraisablehook = self._on_unraisable

    def _note(self, *what):
        self.wrong.append((self.nth, *what))

    def _judge(self, where, exc):
        if exc is not None and not isinstance(exc, CONSEQUENCES):
            self._note(where, repr(exc))

    def _on_unraisable(self, unraisable):
        self._judge("unraisable", unraisable.exc_value)

    def _on_report(self, loop, context):
        self._judge(context["message"], context.get("exception"))

    def _arm(self):
        self.armed = True
        self.timer = self.loop.call_later(SECONDS, self.loop.stop)
        if self.trace:
            os.write(2, b"failing %d\n" % self.nth)
        self.failing.arm(self.nth)

    def _disarm(self):
        failed = self.armed and self.failing.disarm(self.nth)
        self.armed = False
        return failed

    def _once(self, scenario):
        """Play it with a failure; True if there was one."""
        loop = self._new_loop()
        task = loop.create_task(scenario(loop, self._arm))
        try:
            while not task.done():
                try:
                    loop.run_until_complete(task)
                except MemoryError:
                    pass         # of the loop itself, or of the task
                except RuntimeError as exc:
                    if "stopped before" not in str(exc):
                        raise
                    break
        except BaseException as exc:
            self._judge("raised", exc)
        finally:
            failed = self._disarm()
        self._finish(loop)
        return failed

    def _new_loop(self):
        self.timer = None
        self.loop = self.make_loop()
        self.loop.set_exception_handler(self._on_report)
        return self.loop

    def _step_once(self, step):
        loop = self._new_loop()
        playing = step(loop)
        call = next(playing)
        self._arm()
        try:
            call()
        except BaseException as exc:
            self._judge("raised", exc)
        finally:
            failed = self._disarm()
        del call
        for _ in playing:
            pass
        self._finish(loop)
        return failed

    def _finish(self, loop):
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop = None
        loop.call_soon(loop.stop)
        loop.run_forever()       # it may be told to stop already
        loop.run_until_complete(asyncio.sleep(0))
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(
            *tasks, return_exceptions=True)) if tasks else None
        assert loop.run_until_complete(asyncio.wait_for(
            self._works(loop), support.PATIENCE)) == b"works"
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    async def _works(self, loop):
        ours, peer = support.tcp_socket_pair()
        transport, protocol = await loop.create_connection(
            support.Recorder, sock=ours)
        peer.send(b"works")
        data = await protocol.received(5)
        transport.write(data)
        data = await loop.sock_recv(peer, 10)
        peer.close()
        transport.close()
        await protocol.lost
        return data

    def _left(self):
        gc.collect()
        return (self.failing.live(), len(support.open_fds()),
                sum(type(thing).__module__.startswith("rsloop_c")
                    for thing in gc.get_objects()))

    def run(self, once, first=1, trace=False):
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # never awaited
        self.nth = 0
        self.trace = trace
        once()                   # what is made once, and stays
        gc.collect()
        gc.freeze()
        before = self._left()
        self.nth = first
        failures = 0
        while once():
            failures += 1
            after = self._left()
            if after != before:
                self._note("left behind", before, after)
                before = after
            self.nth += 1
        os.write(1, b"%d failures\n" % failures)
        for what in self.wrong[:20]:
            os.write(1, b"%r\n" % (what,))


def sweep_scenario(scenario, **options):
    """The extension's allocations, in a coroutine."""
    faulthandler.enable()
    sweep = Sweep(Extension())
    sweep.run(lambda: sweep._once(scenario), **options)


def sweep_step(step, **options):
    """The interpreter's, in one call."""
    faulthandler.enable()
    sweep = Sweep(Interpreter())
    sweep.run(lambda: sweep._step_once(step), **options)
