# SPDX-License-Identifier: Apache-2.0
"""Every method of a loop, called in every wrong way: before it runs, while it
runs, closed, and in debug mode from another thread."""

import asyncio
import concurrent.futures
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import warnings

import pytest

import bad_input
import support
from bad_input import Outcome, nothing

pytestmark = [pytest.mark.untidy, pytest.mark.slow(60),
              pytest.mark.asyncio_is_worse("it is the oracle")]

LOOP = asyncio.SelectorEventLoop
METHODS = bad_input.public_names(LOOP)
BLOCKED_SECONDS = 0.05
PATIENT_SECONDS = 5      # when only one of two was still at work after that
# A run within a run makes asyncio of 3.13.0 forget that it runs.
NESTED_RUN_IS_BROKEN = sys.version_info[:3] == (3, 13, 0)
RUNS = {"run_forever", "run_until_complete"}


class Props:
    """Proper arguments for one call, closed together at its end."""

    def __init__(self, loop):
        self.loop = loop
        self.sockets = []
        self.files = []

    def socket(self):
        left, right = support.tcp_socket_pair()
        right.send(b"0123456789")
        self.sockets += [left, right]
        return left

    def listener(self):
        listener = socket.create_server((support.LOOPBACK, 0))
        listener.setblocking(False)
        client = socket.create_connection(listener.getsockname())
        self.sockets += [listener, client]
        return listener

    def address(self):
        return self.listener().getsockname()

    def datagram_socket(self):
        one = socket.socket(type=socket.SOCK_DGRAM)
        one.setblocking(False)
        one.bind((support.LOOPBACK, 0))
        one.sendto(b"0123456789", one.getsockname())
        self.sockets.append(one)
        return one

    def unix_path(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0" + os.urandom(8).hex())
        listener.listen()
        self.sockets.append(listener)
        return listener.getsockname()

    def file(self):
        file = tempfile.TemporaryFile()
        file.write(b"0123456789")
        file.flush()
        file.seek(0)
        self.files.append(file)
        return file

    def pipe(self, end):
        pair = os.pipe()
        files = [os.fdopen(pair[0], "rb", 0), os.fdopen(pair[1], "wb", 0)]
        self.files += files
        return files[end]

    def coroutine(self):
        return asyncio.sleep(0)

    def close(self):
        for thing in self.sockets + self.files:
            thing.close()
        for path in os.listdir(b"."):
            os.unlink(path)

    def valid(self, method, parameter):
        make = (VALID.get((method, parameter)) or VALID.get(parameter))
        assert make is not None, f"no proper argument for {parameter}"
        return make(self)


def constant(value):
    return lambda props: value


VALID = {
    **dict.fromkeys(
        ["family", "proto", "flags", "type", "offset", "nbytes"],
        constant(0)),
    **dict.fromkeys(
        ["ssl", "ssl_handshake_timeout", "ssl_shutdown_timeout", "context",
         "sock", "local_addr", "remote_addr", "server_hostname",
         "happy_eyeballs_delay", "interleave", "reuse_port", "reuse_address",
         "keep_alive", "allow_broadcast", "name", "executor", "factory",
         "timeout", "count", "encoding", "errors", "text", "handler",
         "eager_start"],
        constant(None)),
    **dict.fromkeys(
        ["all_errors", "start_serving", "cleanup_socket", "server_side",
         "enabled", "universal_newlines", "shell", "fallback"],
        constant(False)),
    **dict.fromkeys(["callback", "func"], constant(nothing)),
    **dict.fromkeys(["stdin", "stdout", "stderr"], constant(-3)),
    "fd": Props.socket,
    "sig": constant(signal.SIGUSR1),
    "when": constant(0),
    "delay": constant(0),
    "backlog": constant(100),
    "protocol_factory": constant(asyncio.Protocol),
    ("create_datagram_endpoint", "protocol_factory"):
        constant(asyncio.DatagramProtocol),
    ("create_datagram_endpoint", "local_addr"):
        constant((support.LOOPBACK, 0)),
    ("subprocess_exec", "protocol_factory"):
        constant(asyncio.SubprocessProtocol),
    ("subprocess_shell", "protocol_factory"):
        constant(asyncio.SubprocessProtocol),
    ("subprocess_shell", "shell"): constant(True),
    ("default_exception_handler", "context"): constant({"message": "m"}),
    ("call_exception_handler", "context"): constant({"message": "m"}),
    "host": constant(support.LOOPBACK),
    "port": constant(0),
    ("getaddrinfo", "port"): constant(80),
    "sockaddr": constant((support.LOOPBACK, 80)),
    ("getnameinfo", "flags"): constant(socket.NI_NUMERICHOST),
    "path": Props.unix_path,
    ("create_unix_server", "path"): lambda props: "\0" + os.urandom(8).hex(),
    ("connect_read_pipe", "pipe"): lambda props: props.pipe(0),
    ("connect_write_pipe", "pipe"): lambda props: props.pipe(1),
    ("connect_accepted_socket", "sock"): Props.socket,
    ("sock_accept", "sock"): Props.listener,
    ("sock_recvfrom", "sock"): Props.datagram_socket,
    ("sock_recvfrom_into", "sock"): Props.datagram_socket,
    ("sock_sendto", "sock"): Props.datagram_socket,
    **{(name, "sock"): Props.socket for name in (
        "sock_recv", "sock_recv_into", "sock_sendall", "sock_sendfile")},
    ("sock_connect", "sock"): lambda props: props.listener(),
    "address": Props.address,
    "n": constant(5),
    "bufsize": constant(5),
    ("subprocess_exec", "bufsize"): constant(0),
    ("subprocess_shell", "bufsize"): constant(0),
    "buf": lambda props: bytearray(5),
    "data": constant(b"data"),
    "coro": Props.coroutine,
    "future": Props.coroutine,
    "file": Props.file,
    "transport": constant(bad_input.Custom()),
    "protocol": constant(asyncio.Protocol()),
    "sslcontext": constant(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    "program": constant("true"),
    "cmd": constant("true"),
}


# --- places ------------------------------------------------------------------

def call_it(loop, call, props):
    positional, keywords = call.arguments(props.valid)
    try:
        return getattr(loop, call.name)(*positional, **keywords)
    finally:
        for value in [*positional, *keywords.values()]:
            if asyncio.iscoroutine(value) and call.name not in (
                    "create_task", "run_until_complete"):
                value.close()


async def take(result, seconds):
    """Await what can be awaited; undo what was begun."""
    if asyncio.iscoroutine(result) or (
            asyncio.isfuture(result) and not isinstance(result, asyncio.Task)):
        result = await asyncio.wait_for(result, seconds)
    for part in result if isinstance(result, tuple) else (result,):
        if isinstance(part, (asyncio.Handle, asyncio.Future)):
            part.cancel()
        elif isinstance(part, (asyncio.BaseTransport, asyncio.AbstractServer)):
            part.close()
        elif isinstance(part, socket.socket):
            part.close()
    await support.turns(3)
    return result


def step(result):
    """The first step of a coroutine: its loop is closed, or another's."""
    if asyncio.iscoroutine(result):
        try:
            result.send(None)
        except StopIteration as exc:
            return exc.value
        finally:
            result.close()
    elif isinstance(result, (asyncio.Handle, asyncio.Future)):
        result.cancel()
    return result


def in_stopped_loop(loop, call, props, seconds):
    if call.name == "run_forever":
        loop.call_soon(loop.stop)
    return loop.run_until_complete(take(call_it(loop, call, props), seconds))


def in_running_loop(loop, call, props, seconds):
    async def main():
        return await take(call_it(loop, call, props), seconds)

    task = loop.create_task(main())
    try:
        return loop.run_until_complete(task)
    except RuntimeError:
        if task.done():
            raise
        return loop.run_until_complete(task)      # it was stop()


def in_closed_loop(loop, call, props, seconds):
    loop.close()
    return step(call_it(loop, call, props))


def in_another_thread(loop, call, props, seconds):
    loop.set_debug(True)
    outcome = []

    def target():
        try:
            outcome.append((step(call_it(loop, call, props)), None))
        except Exception as exc:
            outcome.append((None, exc))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=target)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    value, exc = outcome[0]
    if exc is not None:
        raise exc
    return value


def finish(loop):
    for sig in list(getattr(loop, "_signal_handlers", ())):
        loop.remove_signal_handler(sig)
    loop.set_debug(False)
    for _ in range(2):
        try:
            if not loop.is_closed():
                loop.set_task_factory(None)
                loop.run_until_complete(support.turns(5))
                loop.run_until_complete(loop.shutdown_default_executor())
            break
        except (RuntimeError, TypeError, AttributeError):
            # A stop() was left over, asyncio's timers are no heap, or what
            # 3.10 took for an executor is none.
            pass
    if isinstance(loop._default_executor, concurrent.futures.Executor):
        loop._default_executor.shutdown()
    loop.close()


def outcome_in(place, make_loop, call, seconds=BLOCKED_SECONDS):
    loop = make_loop()
    loop.set_exception_handler(nothing)
    props = Props(loop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Outcome(place(loop, call, props, seconds))
    except Exception as exc:
        return Outcome(exc=exc)
    finally:
        finish(loop)
        props.close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Some of the wrong paths are paths."""
    monkeypatch.chdir(tmp_path)


# --- tests -------------------------------------------------------------------

# call: why it may go otherwise than on asyncio.
KNOWN = {
    f"call_at(when={wrong})": "asyncio takes it, and fails when it compares"
    for wrong in bad_input.WRONG}
ELSEWHERE = {
    "subprocess_exec": "test_subprocess_options.py: each call is a process",
    "subprocess_shell": "test_subprocess_options.py: each call is a process",
}
if sys.version_info < (3, 11):
    ELSEWHERE["set_default_executor"] = (
        "test_executor.py: a loop of 3.10 takes any object, and cannot close")
RACES = {
    "close": "what it raises depends on who is faster",
    "stop": "what it raises depends on who is faster",
    "run_in_executor": "the executor's thread may be faster",
    "sock_sendfile": "its executor's thread may be faster",
}
ORACLE = {}      # what asyncio did, by place and call


def is_blocked(outcome):
    return outcome.kind in (TimeoutError, asyncio.TimeoutError)


def outcomes_in(place, make_loop, call):
    """Ours and asyncio's. A call that only one of them was still waiting for
    may have met a slow machine, so both get more time."""
    key = place, repr(call)
    if key not in ORACLE:
        ORACLE[key] = outcome_in(place, LOOP, call)
    ours = outcome_in(place, make_loop, call)
    if is_blocked(ours) and not is_blocked(ORACLE[key]):
        ours = outcome_in(place, make_loop, call, PATIENT_SECONDS)
    elif is_blocked(ORACLE[key]) and not is_blocked(ours):
        ORACLE[key] = outcome_in(place, LOOP, call, PATIENT_SECONDS)
    return ours, ORACLE[key]


def check(make_loop, name, place, only_valid=False):
    if name in ELSEWHERE:
        pytest.skip(ELSEWHERE[name])
    if NESTED_RUN_IS_BROKEN and name in RUNS and place in (
            in_running_loop, in_another_thread):
        pytest.skip("asyncio of 3.13.0 forgets that it runs")
    found = bad_input.differences(
        bad_input.calls_of(LOOP, name, only_valid=only_valid),
        lambda call: outcomes_in(place, make_loop, call), KNOWN)
    if place is in_closed_loop:
        # Whether the loop or the argument is found bad first is no matter.
        found = [one for one in found if "as it should be" in one
                 or "Event loop is closed" not in one]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("name", METHODS)
def test_wrong_call_before_the_loop_runs(flavour, name, asyncio_errors):
    check(flavour.new_loop, name, in_stopped_loop)
    asyncio_errors.clear()


@pytest.mark.parametrize("name", METHODS)
def test_wrong_call_while_the_loop_runs(flavour, name, asyncio_errors):
    check(flavour.new_loop, name, in_running_loop)
    asyncio_errors.clear()


@pytest.mark.parametrize("name", METHODS)
def test_wrong_call_of_a_closed_loop(flavour, name, asyncio_errors):
    check(flavour.new_loop, name, in_closed_loop)
    asyncio_errors.clear()


@pytest.mark.parametrize("name", METHODS)
def test_call_from_another_thread_in_debug_mode(flavour, name, asyncio_errors):
    if name in RACES:
        pytest.skip(RACES[name])
    check(flavour.new_loop, name, in_another_thread, only_valid=True)
    asyncio_errors.clear()
