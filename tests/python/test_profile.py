# SPDX-License-Identifier: Apache-2.0
"""What profile(), start_profiler() and stop_profiler() record and write."""

import asyncio
import errno
import json
import re
import shutil
import subprocess
import threading
import time

import pytest

import rsloop_c
from support import (
    Echo,
    Recorder,
    plain_environ,
    run,
    run_python,
    tcp_pair,
    turns,
    until,
)

pytestmark = pytest.mark.asyncio_is_worse("it has no profiler")


@pytest.fixture(autouse=True)
def stopped():
    yield
    if rsloop_c.profiler_running():
        rsloop_c.stop_profiler()
        pytest.fail("the profiler was left running")


def busy_callback():
    until_ns = time.monotonic_ns() + 2_000_000
    while time.monotonic_ns() < until_ns:
        pass


async def worker():
    for _ in range(3):
        await asyncio.sleep(0)


async def work():
    loop = asyncio.get_running_loop()
    loop.call_soon(busy_callback)
    await asyncio.gather(worker(), worker())
    async with tcp_pair(Echo, Recorder) as (_, client):
        client.transport.write(b"some bytes")
        await client.received(10)
    await asyncio.sleep(0.01)


def spans_of(profile):
    return [span for thread in profile.threads for span in thread.spans]


def test_it_records_what_the_loop_does(loop):
    with rsloop_c.profile() as profile:
        assert rsloop_c.profiler_running()
        run(loop, work())
    assert not rsloop_c.profiler_running()
    spans = spans_of(profile)
    names = {span.name for span in spans}
    here = "test_profile.py"
    code = busy_callback.__code__
    slow, = (span for span in spans if span.name
             == f"busy_callback ({here}:{code.co_firstlineno})")
    assert slow.category == "callback"
    assert slow.duration >= 2_000_000
    steps = [span for span in spans if span.name
             == f"worker ({here}:{worker.__code__.co_firstlineno})"]
    assert len(steps) == 8  # four of each
    assert {span.category for span in steps} == {"task"}
    assert any(re.match(r".*\.Echo: (readable|data)$", name) for name in names)
    assert {"turn", "send", "wait for I/O", "wait for the GIL"} <= names
    for span in spans:
        assert 0 <= span.start <= profile.duration_ns
        assert 0 <= span.duration
        assert span.start + span.duration <= profile.duration_ns


def test_spans_of_a_thread_nest(loop):
    with rsloop_c.profile() as profile:
        run(loop, work())
    for thread in profile.threads:
        ends = []
        for span in sorted(thread.spans, key=lambda s: (s.start, -s.duration)):
            end = span.start + span.duration
            while ends and ends[-1] <= span.start and ends[-1] < end:
                ends.pop()
            assert not ends or end <= ends[-1]
            ends.append(end)


def test_the_runtime_thread_has_a_track_of_its_own(flavour, monkeypatch):
    monkeypatch.setenv("RSLOOP_C_TAKEOVER", "always")
    loop = rsloop_c.new_event_loop(flavour.backend)
    tracks = []
    deadline = time.monotonic() + 15
    while not tracks:  # its thread must get a processor while the loop works
        assert time.monotonic() < deadline
        with rsloop_c.profile() as profile:
            run(loop, work())
        tracks = [thread for thread in profile.threads
                  if any(span.name == "read for the loop" for span in thread.spans)]
    loop.close()
    assert len(tracks) == 1
    assert tracks[0].name.startswith("rsloop_c (")


def test_the_trace_is_chromes(loop, tmp_path):
    path = tmp_path / "profile.json"
    with rsloop_c.profile(path) as profile:
        run(loop, work())
    trace = json.loads(path.read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == len(spans_of(profile))
    for event in spans:
        assert {"name", "cat", "ts", "dur", "pid", "tid", "args"} <= event.keys()
    names = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    assert {event["tid"] for event in names} == {event["tid"] for event in spans}


def test_the_page_is_self_contained(loop, tmp_path):
    path = tmp_path / "profile.html"

    class Quoted(asyncio.Protocol):
        pass

    Quoted.__qualname__ = "</script><script>alert(1)"
    with rsloop_c.profile(path):
        async def main():
            async with tcp_pair(Echo, Recorder) as (_, client):
                client.transport.set_protocol(Quoted())
                loop.call_soon(client.transport.write, b"x")
                await asyncio.sleep(0.01)
                client.transport.set_protocol(client)
        run(loop, main())
    page = path.read_text()
    assert not re.findall(r"""(?:src|href)=|url\(|import""", page)
    assert page.count("</script>") == 2
    data = json.loads(re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert data["threads"][0]["spans"]


def dom(url, folder):
    """The page's HTML after its scripts; skips where no browser runs."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium")
    try:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", f"--user-data-dir={folder / 'chromium'}",
             "--dump-dom", url],
            env=plain_environ(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("chromium takes too long")
    return done.stdout


@pytest.mark.slow(150)
def test_a_browser_draws_the_page(loop, tmp_path):
    if "made" not in dom("data:text/html,<p>made", tmp_path):
        pytest.skip("chromium does not run here")
    path = tmp_path / "profile.html"
    with rsloop_c.profile(path) as profile:
        run(loop, work())
    page = dom(path.as_uri(), tmp_path)
    assert f'data-ready="{len(spans_of(profile))}"' in page
    assert "busy_callback" in re.search(r"<tbody>.*</tbody>", page, re.DOTALL)[0]


def test_started_twice_is_a_runtime_error(loop):
    rsloop_c.start_profiler()
    with pytest.raises(RuntimeError, match="running already"):
        rsloop_c.start_profiler()
    with pytest.raises(RuntimeError, match="running already"), rsloop_c.profile():
        pass
    assert rsloop_c.profiler_running()
    run(loop, work())
    assert spans_of(rsloop_c.stop_profiler())


def test_stopped_twice_is_a_runtime_error():
    with pytest.raises(RuntimeError, match="not running"):
        rsloop_c.stop_profiler()


def test_another_thread_stops_it_while_loops_run(loop):
    stopped = []

    def stop():
        stopped.append(rsloop_c.stop_profiler())
        loop.call_soon_threadsafe(lambda: None)

    async def main():
        rsloop_c.start_profiler()
        await turns()
        thread = threading.Thread(target=stop)
        thread.start()
        await until(lambda: stopped)
        thread.join()

    loop.run_until_complete(main())
    assert any("main" in span.name for span in spans_of(stopped[0]))


def test_it_starts_and_stops_many_times_while_loops_run(loop_factory):
    ending = threading.Event()

    async def spin():
        while not ending.is_set():
            await asyncio.sleep(0)

    def work():
        loop = loop_factory()
        loop.run_until_complete(spin())
        loop.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    found = 0
    for _ in range(20):
        rsloop_c.start_profiler(records=256)
        ending.wait(0.002)  # the loops go on meanwhile
        found += len(spans_of(rsloop_c.stop_profiler()))
    ending.set()
    for thread in threads:
        thread.join()
    assert found


def test_a_full_ring_keeps_the_newest(loop):
    async def main():
        for _ in range(500):
            await asyncio.sleep(0)

    with rsloop_c.profile(records=64) as profile:
        loop.run_until_complete(main())
        loop.run_until_complete(worker())
    thread = max(profile.threads, key=lambda thread: thread.lost)
    assert len(thread.spans) == 63
    assert thread.lost > 500
    assert any("worker" in span.name for span in thread.spans)


@pytest.mark.parametrize("records", [0, 63, 100, 1 << 25])
def test_what_is_no_size_is_a_value_error(records):
    with pytest.raises(ValueError, match="power of two"):
        rsloop_c.start_profiler(records=records)


@pytest.mark.parametrize("name", ["full", "full.html"])
def test_a_full_disk_is_an_os_error_and_the_profiler_has_stopped(loop, tmp_path, name):
    path = tmp_path / name
    path.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        with rsloop_c.profile(path) as profile:
            run(loop, work())
    assert caught.value.errno == errno.ENOSPC
    assert not rsloop_c.profiler_running()
    assert spans_of(profile)  # it is not lost
    profile.save(tmp_path / "elsewhere.json")


def test_a_path_that_cannot_be_is_known_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError):
        with rsloop_c.profile(tmp_path / "no folder" / "profile.html"):
            pytest.fail("the work began")
    assert not rsloop_c.profiler_running()


def test_an_exception_of_the_work_stays_and_the_profile_is_saved(loop, tmp_path):
    path = tmp_path / "profile.json"
    with pytest.raises(ZeroDivisionError), rsloop_c.profile(path):
        run(loop, work())
        1 / 0
    assert json.loads(path.read_text())["traceEvents"]


def test_it_may_run_when_the_interpreter_ends(flavour):
    done = run_python("""
        import rsloop_c
        loop = new_event_loop()
        rsloop_c.start_profiler()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    """, flavour)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_native_streams_and_tasks_that_they_resume_are_seen(loop):
    async def echo(reader, writer):
        while data := await reader.read(1):
            writer.write(data)
        writer.close()
        closed.set_result(None)

    async def main():
        server = await rsloop_c.start_server(echo, "127.0.0.1", 0)
        reader, writer = await rsloop_c.open_connection(
            *server.sockets[0].getsockname())
        for _ in range(10):
            writer.write(b"x")
            await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        await closed
        server.close()
        await server.wait_closed()

    closed = loop.create_future()
    with rsloop_c.profile() as profile:
        run(loop, main())
    steps = [span for span in spans_of(profile) if "echo" in span.name]
    assert len(steps) >= 10
    assert {span.category for span in steps} == {"task"}

