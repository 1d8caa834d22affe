# SPDX-License-Identifier: Apache-2.0
"""KeyboardInterrupt at any moment: nothing is lost, doubled, hung or left
behind."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from support import run_python, slowness

# Interrupts come from a clock, not from another thread, which would have to
# wait for the GIL: they hit sleeps, callbacks and the way in and out alike.
PRELUDE = """
import gc, random, signal

def interrupt(signum, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
moments = random.Random(SEED)

def arm():
    # Again after a while: CPython drops what is raised in a finalizer.
    signal.setitimer(signal.ITIMER_REAL, moments.choice(
        [1e-6, 5e-6, 2e-5, 1e-4, 5e-4]) * moments.uniform(1, 4), 0.1)

def interrupted(run, *args):
    try:
        run(*args)
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

def left_behind(loop):
    what = []
    if loop.is_running():
        what.append("a running loop")
    if asyncio._get_running_loop() is not None:
        what.append("the thread's running loop")
    if sys.get_asyncgen_hooks() != (None, None):
        what.append("asyncgen hooks")
    if sys.get_coroutine_origin_tracking_depth():
        what.append("origin tracking")
    if signal.set_wakeup_fd(-1) != -1:
        what.append("the wakeup fd")
    return what
"""


# The protocols' methods are C functions, which an interrupt can only precede or
# follow, so that every byte and callback can be counted.
COUNTED = """
loop = new_event_loop()
loop.set_debug(DEBUG)
loop.slow_callback_duration = 60
received = bytearray()

class Echoing(asyncio.Protocol):
    def connection_made(self, transport):
        self.data_received = transport.write

class Receiving(asyncio.Protocol):
    data_received = received.extend

async def connect():
    server = await loop.create_server(Echoing, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(
        Receiving, *server.sockets[0].getsockname())
    return server, transport

async def busy():
    while True:
        await asyncio.sleep(0)

def again():
    loop.call_soon(again)

def forever():
    loop.run_until_complete(loop.create_future())

server, transport = loop.run_until_complete(connect())
runs = [loop.run_forever, forever,
        lambda: loop.run_until_complete(asyncio.sleep(3600)),
        lambda: loop.run_until_complete(busy())]
sent, ran, posted = bytearray(), [], []
for number in range(200):
    loop.call_soon_threadsafe(posted.append, number)
    for part in range(10):
        piece = b"%d.%d;" % (number, part)
        sent += piece
        loop.call_soon(transport.write, piece)
        loop.call_soon(ran.append, (number, part))
    if number % 3 == 0:
        loop.call_soon(again)

    def run():
        arm()
        runs[number % len(runs)]()

    assert interrupted(run)
    assert not left_behind(loop), left_behind(loop)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    # A stop() of an earlier run would end this one with RuntimeError.
    assert loop.run_until_complete(asyncio.sleep(0.0001, number)) == number

async def rest():
    while len(received) < len(sent):
        await asyncio.sleep(0.001)
    transport.abort()
    server.close()
    await asyncio.sleep(0.001)

loop.run_until_complete(asyncio.wait_for(rest(), 10))
loop.close()
assert received == sent
assert ran == [(number, part) for number in range(200) for part in range(10)]
assert posted == list(range(200))
print("good")
"""


def interrupted_child(flavour, code, **names):
    code = PRELUDE + code
    for name, value in names.items():
        code = code.replace(name, repr(value))
    done = run_python(code, flavour, "-W", "ignore")
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


@pytest.mark.asyncio_is_worse(
    "a signal between two bytecodes of its run_until_complete() leaves a "
    "callback behind that stops a later run")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_interrupts_at_random_moments_lose_nothing(flavour, seed, debug):
    interrupted_child(flavour, COUNTED, SEED=seed, DEBUG=debug)


@pytest.mark.skipif(sys.version_info < (3, 11),
                    reason="asyncio.Runner is new in 3.11")
def test_ctrl_c_at_random_moments_under_a_runner(flavour):
    """Each cancels the main task, and the runner goes on."""
    interrupted_child(flavour, """
def ctrl_c(signum, frame):
    signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGALRM, ctrl_c)
cancelled = []

async def main(number):
    arm()
    try:
        if number % 2:
            await asyncio.sleep(3600)
        while True:
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        cancelled.append(number)
        raise

async def answer():
    return 42

with asyncio.Runner(loop_factory=new_event_loop) as runner:
    for number in range(200):
        assert interrupted(lambda: runner.run(main(number)))
        assert runner.run(answer()) == 42
assert cancelled == list(range(200))
print("good")
""", SEED=3)


@pytest.mark.asyncio_is_worse(
    "an interrupt between two bytecodes of its own code leaves a loop open, "
    "or its callbacks half done")
def test_ctrl_c_at_random_moments_while_loops_come_and_go(flavour):
    """Whatever moment it was, the next loop works, and what was half made is
    freed."""
    interrupted_child(flavour, """
# Not by way of support.py, whose lock an interrupt could leave taken.
import rsloop_c

def once():
    loop = rsloop_c.new_event_loop()
    try:
        loop.run_until_complete(asyncio.sleep(0.0001))
    finally:
        loop.close()

def many():
    arm()
    while True:
        once()

# Those of asyncio's own code, and all others.
def fds():
    names = [os.readlink(entry) for entry in os.scandir("/proc/self/fd")
             if os.path.islink(entry)]
    asyncios = [name for name in names if "socket:" in name or "pidfd" in name]
    return len(asyncios), len(names) - len(asyncios)

once()
gc.collect()
before = fds()
for number in range(200):
    assert interrupted(many)
    assert asyncio._get_running_loop() is None
    once()
gc.collect()
after = fds()
# What the native side opens is closed whenever the interrupt comes. A few hit
# socket.socketpair(), which detaches an fd from one object before it gives it to
# the next, or, on 3.14, the pidfd that asyncio opens to see whether it can.
assert after[1] == before[1], (before, after)
assert after[0] <= before[0] + 16, (before, after)
print("good")
""", SEED=4)


@pytest.mark.parametrize("callback", [
    lambda loop: loop.call_soon(time.sleep, 3600),
    lambda loop: loop.call_later(0, time.sleep, 3600),
    lambda loop: loop.call_soon_threadsafe(time.sleep, 3600),
], ids=["call_soon", "call_later", "call_soon_threadsafe"])
def test_interrupt_in_a_c_callback_leaves_the_loop(loop, callback):
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    ran = []
    # Not before the loop runs: on a busy machine the interrupt would hit the test.
    killer = threading.Timer(0.1 * slowness(), os.kill,
                             (os.getpid(), signal.SIGUSR1))
    loop.call_soon(killer.start)
    callback(loop)
    loop.call_later(0, ran.append, "behind it")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    killer.join()
    signal.signal(signal.SIGUSR1, before)
    assert not loop.is_running()
    loop.run_until_complete(asyncio.sleep(0.001))
    assert ran == ["behind it"]
