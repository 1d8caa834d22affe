# SPDX-License-Identifier: Apache-2.0
"""What mypy --strict makes of the package's types, and whether the stub of the
C module says what the module has."""

import os
import site
import subprocess
import sys
import textwrap

import pytest

import rsloop_c

pytestmark = pytest.mark.slow(150)

USES = """
    import asyncio
    import rsloop_c

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, rsloop_c.Loop)
        handle: asyncio.Handle = loop.call_soon(print, "text")
        timer: asyncio.TimerHandle = loop.call_later(1.0, handle.cancel)
        timer.when()
        loop.create_task(asyncio.sleep(0)).add_done_callback(print)
        name: str = loop.backend
        loop.limits.max_connections = 1000
        loop.limits.idle_timeout = None
        open_now: int = loop.limits.connections + await loop.drain(0.5)
        server = await asyncio.start_server(print, limits={"max_connections": open_now})
        assert isinstance(server, rsloop_c.Server)
        await server.drain()
        changed: list[tuple[str, rsloop_c.FileSystemEvent]] = []
        watch = loop._monitor_fs("/", lambda *event: changed.append(event))
        watch.cancel()
        return len(name)

    async def children() -> tuple[bytes | None, str | None]:
        binary = await rsloop_c.create_subprocess_exec("true", stdout=-1)
        data, _ = await binary.communicate(b"")
        child = await rsloop_c.create_subprocess_shell("true", stdout=-1, text=True)
        text, _ = await child.communicate("")
        assert child.stdin is not None
        child.stdin.write("text")
        return data, text

    number: int = rsloop_c.run(main(), debug=True)
    rsloop_c.run(main(), loop_factory=rsloop_c.Loop)
    loop: asyncio.AbstractEventLoop = rsloop_c.new_event_loop("epoll")
    policy: asyncio.AbstractEventLoopPolicy = rsloop_c.EventLoopPolicy()
    rsloop_c.install()
    rsloop_c.uninstall()
    version: str = rsloop_c.build_info()["version"]
    rsloop_c.runtime_info(loop)["backend"]
"""

WRONG = {
    "rsloop_c.run(42)": "arg-type",
    "rsloop_c.new_event_loop(1)": "arg-type",
    "rsloop_c.Loop().call_soon(len)": "arg-type",
    "rsloop_c.Loop().backend = 'epoll'": "misc",
    "rsloop_c.build_info()['nonsense']": "typeddict-item",
}


def tool(*arguments, folder):
    pytest.importorskip("mypy", reason="mypy is not installed")
    environment = dict(os.environ)
    place = os.path.dirname(os.path.dirname(rsloop_c.__file__))
    if place not in site.getsitepackages():
        # An editable install: its import hook means nothing to mypy.
        environment["MYPYPATH"] = place
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )


def test_uses_have_types(tmp_path):
    (tmp_path / "uses.py").write_text(textwrap.dedent(USES))
    done = tool("mypy", "--strict", "uses.py", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_uses_are_found(tmp_path):
    source = "import rsloop_c\n" + "\n".join(WRONG)
    (tmp_path / "wrong.py").write_text(source)
    lines = tool("mypy", "--strict", "wrong.py", folder=tmp_path).stdout.splitlines()
    assert len(lines) == len(WRONG) + 1, lines
    for line, code in zip(lines, WRONG.values()):  # noqa: B905
        assert line.endswith(f"[{code}]")


def test_stub_of_the_c_module(tmp_path):
    # Its parameters changed within 3.13; a stub knows minor versions only.
    (tmp_path / "allowed").write_text("rsloop_c._core.Loop.create_task")
    done = tool(
        "mypy.stubtest",
        "--allowlist=allowed",
        "--ignore-unused-allowlist",
        "rsloop_c._core",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
