# SPDX-License-Identifier: Apache-2.0
"""python -m rsloop_c: the program sees what plain python shows it, and its
loops are ours, whatever way it makes them."""

import os
import re
import subprocess
import sys
import textwrap
import zipfile

import pytest

NAMESPACE = """
    import sys
    for name, value in sorted(globals().items()):
        if name == "__loader__" and not isinstance(value, type):
            value = type(value), getattr(value, "path", None)
        if name not in ("sys", "name", "value"):
            print(name, value)
    print(sys.argv, sys.path[0], __name__)
    print(sys.modules["__main__"].__dict__ is globals())
"""

FILES = {
    "names.py": NAMESPACE,
    "package/__init__.py": "",
    "package/__main__.py": NAMESPACE,
    "package/names.py": NAMESPACE,
    "package/fails.py": "1 / 0",
    "folder/__main__.py": NAMESPACE,
    "fails.py": "def f():\n    1 / 0\n\nf()",
    "syntax.py": "x = (",
    "chained.py": """
        try:
            1 / 0
        except ZeroDivisionError as exc:
            raise ValueError("again") from exc
    """,
    "interrupted.py": "raise KeyboardInterrupt",
    "exits.py": "raise SystemExit(7)",
    "exits_with_text.py": "raise SystemExit('goodbye')",
    "hooked.py": """
        import sys
        def hook(kind, value, traceback):
            print(kind, traceback.tb_frame.f_code.co_name, traceback.tb_next)
        sys.excepthook = hook
        1 / 0
    """,
    "atexit_.py": "import atexit\natexit.register(print, 'bye')\n1 / 0",
    "threads.py": """
        import threading
        print(threading.current_thread() is threading.main_thread())
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
    """,
    "latin.py": "# coding: latin-1\nprint(len('\xe4'))",
}

CASES = [
    ["names.py", "-m", "--flag", "argument"],
    ["./names.py"],
    ["folder/../names.py"],
    ["link.py"],
    ["names.pyc"],
    ["folder", "1"],
    ["archive.zip", "2"],
    ["-m", "package", "3"],
    ["-m", "package.names"],
    ["-mpackage.names"],
    ["-m", "package.fails"],
    ["-m", "package.missing"],
    ["-m", "missing"],
    ["-c", "import sys; print(sys.argv, sys.path[0], sorted(globals()))", "4"],
    ["-c", "def f():\n    1 / 0\nf()"],
    ["-c", "x = ("],
    ["-", "5"],
    ["fails.py"],
    ["syntax.py"],
    ["chained.py"],
    ["interrupted.py"],
    ["exits.py"],
    ["exits_with_text.py"],
    ["hooked.py"],
    ["atexit_.py"],
    ["threads.py"],
    ["latin.py"],
    ["missing.py"],
    ["missing/missing.py"],
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    for name, source in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            textwrap.dedent(source), encoding="latin-1" if "latin" in name else "utf-8"
        )
    (folder / "link.py").symlink_to(folder / "package" / "names.py")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", textwrap.dedent(NAMESPACE))
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import py_compile; py_compile.compile('names.py', 'names.pyc')",
        ],
        cwd=folder,
        check=True,
    )
    return folder


def run(folder, *arguments, source="", env=(), timeout=30):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        input=source,
        text=True,
        timeout=timeout,
        capture_output=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **dict(env)},
    )


def ours(folder, *arguments, **options):
    return run(folder, "-m", "rsloop_c", *arguments, **options)


def comparable(done):
    text = done.stdout + "\n--- stderr ---\n" + done.stderr
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return done.returncode, text.replace(" -m rsloop_c: ", ": ")


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_program_sees_what_python_shows(programs, arguments):
    source = "import sys\nprint(sys.argv, sys.path[0], __name__)\n1 / 0\n"
    assert comparable(ours(programs, *arguments, source=source)) == comparable(
        run(programs, *arguments, source=source)
    )


def test_safe_path_leaves_the_folder_out(programs):
    safe = ["-I"] if sys.version_info < (3, 11) else ["-P"]
    code = "import sys; print(sys.path)"
    plain = run(programs, *safe, "-c", code)
    assert run(programs, *safe, "-m", "rsloop_c", "-c", code).stdout == plain.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 2), (["--help"], 0), (["--nonsense"], 2), (["-m"], 2), (["-c"], 2)],
)
def test_usage(tmp_path, arguments, code):
    done = ours(tmp_path, *arguments)
    assert done.returncode == code
    assert done.stdout or done.stderr
    assert "Traceback" not in done.stderr


def test_info_and_version(tmp_path):
    import json

    import rsloop_c

    assert rsloop_c.__version__ in ours(tmp_path, "--version").stdout
    told = json.loads(ours(tmp_path, "--info").stdout)
    assert told["runtime"]["backend"] in ("epoll", "io_uring")
    assert told["build"]["version"] == rsloop_c.__version__


# --- every way to make a loop ------------------------------------------------

WAYS = {
    "asyncio.run": "asyncio.run(main())",
    "asyncio.new_event_loop": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "asyncio.set_event_loop": """
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncio.get_event_loop().run_until_complete(main())
        loop.close()
    """,
    "SelectorEventLoop": """
        loop = asyncio.SelectorEventLoop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "SelectorEventLoop with a selector": """
        import selectors
        loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        loop.run_until_complete(main())
        loop.close()
    """,
    "unix_events.SelectorEventLoop": """
        from asyncio.unix_events import SelectorEventLoop
        loop = SelectorEventLoop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "subclass of SelectorEventLoop": """
        class Mine(asyncio.SelectorEventLoop):
            def __init__(self):
                super().__init__()
                self.mine = True
        loop = Mine()
        assert loop.mine and type(loop) is Mine
        assert isinstance(loop, Mine)
        loop.run_until_complete(main())
        loop.close()
    """,
    "default policy": """
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        asyncio.run(main())
    """,
    "subclass of the default policy": """
        class Policy(asyncio.DefaultEventLoopPolicy):
            pass
        asyncio.set_event_loop_policy(Policy())
        asyncio.run(main())
    """,
    "policy reset": "asyncio.set_event_loop_policy(None); asyncio.run(main())",
    "uvloop.run": "import uvloop; uvloop.run(main())",
    "uvloop.install": "import uvloop; uvloop.install(); asyncio.run(main())",
    "uvloop.new_event_loop": """
        import uvloop
        loop = uvloop.new_event_loop()
        assert isinstance(loop, uvloop.Loop)
        loop.run_until_complete(main())
        loop.close()
    """,
    "uvloop.EventLoopPolicy": """
        from uvloop import EventLoopPolicy
        asyncio.set_event_loop_policy(EventLoopPolicy())
        asyncio.run(main())
    """,
    "uvloop found": """
        import importlib.util
        import uvloop.loop
        assert importlib.util.find_spec("uvloop").name == "uvloop"
        loop = uvloop.loop.Loop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "rsloop_c.run": "rsloop_c.run(main())",
    "thread": """
        import threading
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
    """,
    "unittest": """
        import unittest
        class Test(unittest.IsolatedAsyncioTestCase):
            async def test(self):
                await main()
        unittest.main(verbosity=0, exit=False)
    """,
}
if sys.version_info < (3, 14):
    WAYS["asyncio.get_event_loop"] = """
        import warnings
        warnings.simplefilter("ignore")
        loop = asyncio.get_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """
if sys.version_info >= (3, 11):
    WAYS["Runner"] = "with asyncio.Runner() as runner: runner.run(main())"
if sys.version_info >= (3, 12):
    WAYS["loop_factory"] = "asyncio.run(main(), loop_factory=asyncio.SelectorEventLoop)"
if sys.version_info >= (3, 13):
    WAYS["EventLoop"] = "asyncio.run(main(), loop_factory=asyncio.EventLoop)"

PRELUDE = """
import asyncio, rsloop_c
async def main():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    assert issubclass(type(loop), asyncio.SelectorEventLoop)
    print(isinstance(loop, rsloop_c.Loop), rsloop_c.runtime_info()["backend"])
"""


@pytest.mark.parametrize("way", WAYS)
def test_loop_is_ours(tmp_path, way):
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + textwrap.dedent(WAYS[way]))
    done = ours(tmp_path, "program.py", env={"RSLOOP_C_BACKEND": "epoll"})
    assert done.stdout == "True epoll\n", done.stderr
    assert done.returncode == 0
    if "policy" not in way.lower() and "install" not in way and way != "unittest":
        assert done.stderr == ""


def test_other_selector_is_named_in_a_warning(tmp_path):
    done = ours(
        tmp_path,
        "-c",
        textwrap.dedent("""
        import asyncio, selectors
        class Own(selectors.SelectSelector):
            pass
        asyncio.SelectorEventLoop(Own()).close()
    """),
    )
    assert done.returncode == 0
    assert "<string>:5: RuntimeWarning" in done.stderr
    assert "is not used" in done.stderr


def test_plain_import_patches_nothing(tmp_path):
    done = run(
        tmp_path,
        "-c",
        "import rsloop_c, asyncio; print(asyncio.SelectorEventLoop.__module__)",
    )
    assert done.stdout == "asyncio.unix_events\n"


# --- children ----------------------------------------------------------------

CHILD = """
import asyncio, multiprocessing, sys

async def kind():
    loop = asyncio.get_running_loop()
    return f"{type(loop).__module__} {loop.backend}"

def child(queue):
    import uvloop
    queue.put((asyncio.run(kind()), uvloop.run(kind())))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get(timeout=20))
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_run_on_our_loop(tmp_path, method):
    (tmp_path / "program.py").write_text(CHILD)
    done = ours(tmp_path, "program.py", method, env={"RSLOOP_C_BACKEND": "epoll"})
    assert done.stdout == "('rsloop_c._loop epoll', 'rsloop_c._loop epoll')\n0\n", (
        done.stderr
    )


# --- Ctrl-C ------------------------------------------------------------------


def test_ctrl_c_ends_the_program_by_the_signal(tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import asyncio, os, signal
        async def main():
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(60)
            finally:
                print("cleaned up")
        asyncio.run(main())
    """)
    )
    done = ours(tmp_path, "program.py")
    assert done.stdout == "cleaned up\n"
    assert done.returncode == -2
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "rsloop_c/__main__" not in done.stderr
