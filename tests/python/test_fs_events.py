# SPDX-License-Identifier: Apache-2.0
"""Loop._monitor_fs(), which uvloop has and asyncio has not."""

import asyncio
import contextvars
import gc
import os

import pytest

from rsloop_c import FileSystemEvent
from support import PATIENCE, open_fds, run_python, turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no such thing")
RENAME, CHANGE = FileSystemEvent.RENAME, FileSystemEvent.CHANGE


class Events(list):
    def __call__(self, name, event):
        self.append((name, event))

    async def until(self, *expected):
        await until(lambda: all(event in self for event in expected), expected)


async def test_directory_tells_of_its_entries(loop, tmp_path):
    events = Events()
    watch = loop._monitor_fs(tmp_path, events)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    await events.until(("file", RENAME), ("file", CHANGE))
    events.clear()
    file.rename(tmp_path / "other")
    await events.until(("file", RENAME), ("other", RENAME))
    events.clear()
    (tmp_path / "other").chmod(0o600)
    await events.until(("other", CHANGE))
    events.clear()
    (tmp_path / "other").unlink()
    await events.until(("other", RENAME))
    assert not watch.cancelled()


@pytest.mark.parametrize("kind", [str, os.fsencode])
async def test_file_tells_of_itself(loop, tmp_path, kind):
    file = tmp_path / "f\u00fcnf"
    file.write_bytes(b"")
    events = Events()
    loop._monitor_fs(kind(file), events)
    file.write_bytes(b"x")
    await events.until((file.name, CHANGE))
    file.unlink()
    await events.until((file.name, RENAME))


async def test_name_that_is_no_text(loop, tmp_path):
    events = Events()
    loop._monitor_fs(tmp_path, events)
    name = os.fsdecode(b"\xff")
    (tmp_path / name).touch()
    await events.until((name, RENAME))


async def test_nothing_after_cancel(loop, tmp_path):
    first, second = Events(), Events()
    watch = loop._monitor_fs(tmp_path, first)
    loop._monitor_fs(tmp_path, second)
    (tmp_path / "before").touch()
    # Its event waits in the kernel, and then perhaps in the loop.
    watch.cancel()
    assert watch.cancelled()
    watch.cancel()
    await second.until(("before", RENAME))
    assert first == []


async def test_cancel_between_event_and_callback(loop, tmp_path):
    events = Events()

    def cancel_other(name, event):
        other.cancel()

    loop._monitor_fs(tmp_path, cancel_other)
    other = loop._monitor_fs(tmp_path, events)
    (tmp_path / "file").touch()
    await until(other.cancelled)
    await turns(10)
    assert events == []


async def test_cancel_of_the_last_ends_the_kernels_watch(loop, tmp_path):
    for _ in range(3):
        watches = [loop._monitor_fs(tmp_path, Events()) for _ in range(2)]
        for watch in watches:
            watch.cancel()
        with open(f"/proc/self/fdinfo/{loop._fs_watches._fd}") as info:
            assert "inotify" not in info.read()


async def test_cancel_after_the_file_has_gone(loop, tmp_path):
    file = tmp_path / "file"
    file.touch()
    events = Events()
    late = loop._monitor_fs(file, Events())
    early = loop._monitor_fs(file, events)
    file.unlink()
    late.cancel()
    await events.until(("file", RENAME))
    early.cancel()
    file.touch()             # perhaps the same inode number
    again = Events()
    loop._monitor_fs(file, again)
    file.write_bytes(b"x")
    await again.until(("file", CHANGE))


async def test_what_cannot_be_watched(loop, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        loop._monitor_fs(tmp_path / "none", print)
    assert caught.value.filename == tmp_path / "none"
    with pytest.raises(TypeError):
        loop._monitor_fs(7, print)
    with pytest.raises(TypeError, match="callable"):
        loop._monitor_fs(tmp_path, None)
    with pytest.raises(ValueError, match="null"):
        loop._monitor_fs("a\0b", print)


async def test_callback_has_the_callers_context(loop, tmp_path):
    var = contextvars.ContextVar("var", default="none")
    seen = []
    var.set("caller")
    loop._monitor_fs(tmp_path, lambda *event: seen.append(var.get()))
    var.set("later")
    (tmp_path / "file").touch()
    await until(lambda: seen)
    assert set(seen) == {"caller"}


async def test_callback_that_raises_is_reported(loop, tmp_path):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    events = Events()

    def fail(name, event):
        raise ZeroDivisionError

    loop._monitor_fs(tmp_path, fail)
    loop._monitor_fs(tmp_path, events)
    (tmp_path / "file").touch()
    await events.until(("file", RENAME))
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def test_close_ends_them(loop_factory, tmp_path):
    before = open_fds()
    loop = loop_factory()
    watch = loop._monitor_fs(tmp_path, print)
    loop.close()
    assert watch.cancelled()
    watch.cancel()
    with pytest.raises(RuntimeError, match="closed"):
        loop._monitor_fs(tmp_path, print)
    del loop, watch
    gc.collect()
    assert len(open_fds()) == len(before)


async def test_lost_events_are_told_to_all(loop, tmp_path):
    """More than /proc/sys/fs/inotify/max_queued_events in one turn."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        limit = int(file.read())
    if limit > 50_000:
        pytest.skip(f"the kernel queues {limit} events")
    quiet, events = Events(), Events()
    os.mkdir(tmp_path / "quiet")
    loop._monitor_fs(tmp_path / "quiet", quiet)
    loop._monitor_fs(tmp_path, events)
    for number in range(limit // 2 + 10):    # equal ones in a row are merged
        os.utime(tmp_path, (0, 0)) if number % 2 else os.chmod(tmp_path, 0o700)
        os.close(os.open(tmp_path / "file", os.O_CREAT))
        os.unlink(tmp_path / "file")
    await quiet.until(("quiet", FileSystemEvent.RENAME_CHANGE))


def test_ctrl_c_in_a_callback_leaves_the_loop(flavour, tmp_path):
    code = f"""
import os
loop = new_event_loop()
def interrupt(name, event):
    raise KeyboardInterrupt
loop._monitor_fs({str(tmp_path)!r}, interrupt)
loop.call_soon(os.mkdir, {str(tmp_path / "made")!r})
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted")
loop.close()
"""
    assert run_python(code, flavour).stdout == "interrupted\n"


async def test_handle_is_for_wait_for(loop, tmp_path):
    """The use it is for: wait until something appears."""
    appeared = loop.create_future()

    def look(name, event):
        if name == "ready" and not appeared.done():
            appeared.set_result(event)

    watch = loop._monitor_fs(tmp_path, look)
    loop.call_soon((tmp_path / "ready").touch)
    assert await asyncio.wait_for(appeared, PATIENCE) & RENAME
    watch.cancel()
