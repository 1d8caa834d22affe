# SPDX-License-Identifier: Apache-2.0
"""The metrics endpoint, and python -m rsloop_c.top on it."""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support import PATIENCE, run_python, slowness

pytestmark = [pytest.mark.asyncio_is_worse("asyncio has no endpoint")]

GOOD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def dial(address):
    if isinstance(address, tuple):
        return socket.create_connection(address, PATIENCE * slowness())
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE * slowness())
    sock.connect("\0" + address[1:] if address[:1] == "@" else address)
    return sock


def ask(address, request=GOOD):
    with dial(address) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def sample(body, name):
    return [float(value) for value in
            re.findall(rf"^rsloop_c_{name}\{{[^}}]*\}} (\S+)$", body, re.M)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A short path: a unix socket's name has 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_is_openmetrics_text(loop):
    with loop.serve_metrics() as endpoint:
        assert endpoint.address[0] == "127.0.0.1" and endpoint.address[1] > 0
        assert endpoint.url == f"http://127.0.0.1:{endpoint.address[1]}/metrics"
        loop.run_until_complete(asyncio.sleep(0.001))
        head, body = ask(endpoint.address)
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Type: application/openmetrics-text; version=1.0.0" in head
    assert body.endswith("\n# EOF\n")
    assert sample(body, "turns_total")[-1] >= 1
    families = re.findall(r"^# TYPE (\S+) (\S+)$", body, re.M)
    assert len({name for name, _ in families}) == len(families)
    types = dict(families)
    assert types["rsloop_c_turn_seconds"] == "histogram"
    for line in body.splitlines():
        if line.startswith("# "):
            continue
        name, labels, value = re.fullmatch(
            r'(\w+)\{((?:\w+="[^"\\]*",?)+)\} (\S+)', line).groups()
        float(value)
        family = re.sub(r"_(total|bucket|sum|count|info)$", "", name)
        assert types.get(name, types.get(family)), line
    counts = [float(value) for value in re.findall(
        r'^rsloop_c_turn_seconds_bucket\{loop="\d+",le="[^"]+"\} (\d+)$',
        body, re.M)]
    assert counts and sample(body, "turn_seconds_count")[0] == counts[19]


def test_it_answers_while_the_loop_is_stuck_in_python(loop):
    endpoint = loop.serve_metrics()
    answers, done = [], threading.Event()

    def look():
        answers.append(ask(endpoint.address))
        done.set()

    def block():
        threading.Thread(target=look).start()
        assert done.wait(PATIENCE * slowness())

    loop.call_soon(block)
    loop.run_until_complete(asyncio.sleep(0))
    body = answers[0][1]
    assert max(sample(body, "turn_now_seconds")) > 0
    assert 1 in sample(body, "running")
    endpoint.close()


class StuckWithTheGil:
    """A child process whose loop is stuck in C with the GIL held, until it is
    told to go on by a byte to its stdin."""

    CODE = """
        import ctypes, rsloop_c
        loop = new_event_loop()
        endpoint = loop.serve_metrics()
        print(endpoint.address[1], flush=True)
        byte = ctypes.create_string_buffer(1)
        read = ctypes.PyDLL(None).read       # PyDLL keeps the GIL
        loop.call_soon(read, 0, byte, 1)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        loop.close()
        print("over", flush=True)
        """


def child(code, flavour, **environment):
    import textwrap

    prelude = ("import asyncio, os, sys\nimport support\n"
               "new_event_loop = support.child_flavour().new_loop\n")
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        env={**os.environ, **flavour.environment(), "PYTHONPATH": here,
             **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_it_answers_while_the_loop_is_stuck_in_c_with_the_gil(flavour):
    with child(StuckWithTheGil.CODE, flavour) as process:
        try:
            address = ("127.0.0.1", int(process.stdout.readline()))
            deadline = time.monotonic() + PATIENCE * slowness()
            while True:
                _, body = ask(address)
                if max(sample(body, "turn_now_seconds")) > 0.2:
                    break
                assert time.monotonic() < deadline
            assert sample(body, "running") == [1]
            process.stdin.write("x")
            process.stdin.flush()
            assert process.stdout.readline() == "over\n"
        finally:
            process.kill()


@pytest.mark.parametrize("request_, status", [
    (b"GET / HTTP/1.0\r\n\r\n", "404"),
    (b"DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
    (b"\x16\x03\x01\x00", "400"),
    (b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 5000, "431"),
])
def test_bad_requests_are_refused(loop, request_, status):
    with loop.serve_metrics() as endpoint:
        assert ask(endpoint.address, request_)[0].split(" ")[1] == status
        assert ask(endpoint.address)[0].split(" ")[1] == "200"


def test_slow_clients_keep_nobody_out(loop):
    with loop.serve_metrics() as endpoint, contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(dial(endpoint.address)).sendall(b"GET /m")
        assert ask(endpoint.address)[0].split(" ")[1] == "200"


def test_unix_sockets(loop, folder):
    with loop.serve_metrics(path="m.sock") as endpoint:
        assert endpoint.address == "m.sock"
        assert os.stat("m.sock").st_mode & 0o777 == 0o600
        assert "# EOF" in ask("m.sock")[1]
        with pytest.raises(OSError):
            loop.serve_metrics(path="m.sock")
        assert "# EOF" in ask("m.sock")[1]
    assert not os.path.exists("m.sock")
    # What a process that is gone has left is in nobody's way.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind("m.sock")
    loop.serve_metrics(path="m.sock").close()
    with open("m.sock", "w"), pytest.raises(OSError):
        loop.serve_metrics(path="m.sock")
    os.unlink("m.sock")

    name = f"@rsloop_c-test-{os.getpid()}"
    with loop.serve_metrics(path=name) as endpoint:
        assert endpoint.address == name
        assert "# EOF" in ask(name)[1]


def test_an_endpoint_ends_with_its_loop(loop, folder):
    endpoint = loop.serve_metrics(path="m.sock")
    other = loop.serve_metrics()
    idle = dial("m.sock")
    assert endpoint.is_open() and "closed" not in repr(endpoint)
    loop.close()
    assert not endpoint.is_open() and "closed" in repr(other)
    with idle, contextlib.suppress(ConnectionResetError):
        assert idle.recv(1) == b""       # reset, if it was not accepted yet
    assert not os.path.exists("m.sock")
    with pytest.raises(ConnectionRefusedError):
        dial(other.address)
    endpoint.close()
    with pytest.raises(RuntimeError):
        loop.serve_metrics()


def test_one_endpoint_shows_all_loops(loop_factory):
    loops = [loop_factory() for _ in range(3)]
    with loops[1].serve_metrics() as endpoint:
        before = len(sample(ask(endpoint.address)[1], "turns_total"))
        loops[0].close()
        del loops[0]
        after = len(sample(ask(endpoint.address)[1], "turns_total"))
    assert (before - 1 <= after <= before) and before >= 3


def test_bad_addresses(loop):
    with pytest.raises(ValueError):
        loop.serve_metrics(path="")
    with pytest.raises(OSError):
        loop.serve_metrics("256.1.1.1")
    with loop.serve_metrics() as endpoint, pytest.raises(OSError):
        loop.serve_metrics("127.0.0.1", endpoint.address[1])


def test_another_thread_may_not_open_one_while_the_loop_runs(loop):
    async def main():
        with pytest.raises(RuntimeError):
            await asyncio.to_thread(loop.serve_metrics)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_the_variable_opens_one_for_the_first_loop(flavour, folder):
    done = run_python("""
        import warnings
        import rsloop_c, test_metrics
        path = os.environ["RSLOOP_C_METRICS"]
        first, second = new_event_loop(), new_event_loop()
        print(len(test_metrics.sample(test_metrics.ask(path)[1], "ready")))
        if os.fork() == 0:
            first.close()
            os._exit(0)
        os.wait()
        assert os.path.exists(path)
        first.close()
        assert not os.path.exists(path)
        third = new_event_loop()
        assert os.path.exists(path)
        for loop in second, third:
            loop.close()
        os.environ["RSLOOP_C_METRICS"] = "/no/such/folder/x"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            new_event_loop().close()
        print([w.category.__name__ for w in caught])
        os.environ["RSLOOP_C_METRICS"] = "nonsense"
        try:
            new_event_loop()
        except ValueError as exc:
            print(exc)
        """, flavour, "-W", "ignore::DeprecationWarning",
        env={"RSLOOP_C_METRICS": "./m.sock"})
    assert done.stdout.splitlines() == [
        "2", "['RuntimeWarning']",
        "an address must be HOST:PORT, /PATH, @NAME or 'pid', not 'nonsense'",
    ], done.stderr


# --- top ---------------------------------------------------------------------

def top(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "rsloop_c.top", *arguments],
        env={**os.environ, **environment}, text=True, capture_output=True,
        timeout=60 * slowness(), stdin=subprocess.DEVNULL)


def test_top_shows_a_stuck_loop_by_pid(flavour, tmp_path):
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    code = StuckWithTheGil.CODE.replace(
        "endpoint = loop.serve_metrics()", "").replace(
        "endpoint.address[1]", "os.getpid()")
    with child(code, flavour, RSLOOP_C_METRICS="pid",
               **environment) as process:
        try:
            pid = process.stdout.readline().strip()
            deadline = time.monotonic() + 3 * PATIENCE * slowness()
            while "STUCK" not in (done := top(
                    pid, "-c", "2", "-n", "0.6", **environment)).stdout:
                assert time.monotonic() < deadline, done.stdout + done.stderr
            lines = done.stdout.splitlines()
            assert lines[0].startswith(f"rsloop_c top   pid {pid}   1 loop ")
            assert lines[1].split()[:4] == ["loop", "backend", "state",
                                            "conns"]
            assert lines[2].split()[:2] == ["1", flavour.backend]
            assert "\x1b" not in done.stdout
            process.stdin.write("x")
            process.stdin.flush()
            process.wait()
        finally:
            process.kill()
    done = top(pid, **environment)
    assert done.returncode == 1 and "sock: " in done.stderr


def test_top_takes_addresses_and_refuses_nonsense(loop):
    with loop.serve_metrics() as endpoint:
        for target in (endpoint.url, "{}:{}".format(*endpoint.address)):
            done = top(target, "--count", "1")
            assert done.returncode == 0, done.stderr
            assert "stopped" in done.stdout
    assert top("nonsense").returncode == 2
    assert top("x:1", "-n", "0").returncode == 2


def test_top_reads_figures():
    from rsloop_c import top as module

    page = module.parse_page(
        "# TYPE x counter\n"
        'rsloop_c_process_info{pid="7"} 1\n'
        'rsloop_c_loop_info{loop="1",backend="epoll"} 1\n'
        'rsloop_c_running{loop="1"} 1\n'
        'rsloop_c_turns_total{loop="1"} 10\n'
        'rsloop_c_turn_seconds_bucket{loop="1",le="0.001"} 9\n'
        'rsloop_c_turn_seconds_bucket{loop="1",le="0.01"} 9\n'
        'rsloop_c_turn_seconds_bucket{loop="1",le="+Inf"} 10\n'
        'rsloop_c_turn_max_seconds{loop="1"} 2.5\n'
        "# EOF\n")
    loop = page.loops["1"]
    assert page.pid == "7" and loop.backend == "epoll"
    assert module.quantile(None, loop, 0.5) == 0.001
    assert module.quantile(None, loop, 0.99) == 2.5
    assert module.row(None, loop, 0)[:2] == ["epoll", "waits"]
    for bad in ("", "rsloop_c_x 1\n", 'rsloop_c_x{loop="1"} y\n# EOF\n'):
        with pytest.raises(module.PageError):
            module.parse_page(bad)
    assert [module.seconds(value) for value in (0, 5e-6, 0.0125, 1.5, 75)] == [
        "0", "5us", "12.5ms", "1.5s", "75s"]
    assert [module.amount(value) for value in (0, 999, 1000, 2.5e6)] == [
        "0", "999", "1k", "2.5M"]


# --- OpenTelemetry -----------------------------------------------------------

def test_the_opentelemetry_example(flavour):
    """On the SDK where there is one, else on what stands for it here."""
    example = (Path(__file__).resolve().parents[2]
               / "examples" / "opentelemetry_metrics.py")
    done = run_python(f"""
        import runpy
        try:
            import opentelemetry.sdk.metrics
        except ImportError:
            import opentelemetry_stand_in
            opentelemetry_stand_in.install()
        runpy.run_path({str(example)!r}, run_name="__main__")
        """, flavour)
    assert done.returncode == 0, done.stderr
    for name in ("turns", "callbacks", "connections", "turn.buckets"):
        assert f"rsloop_c.{name}" in done.stdout
