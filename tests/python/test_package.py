# SPDX-License-Identifier: Apache-2.0
"""What the package offers, and that importing it changes nothing."""

import asyncio
import importlib.metadata
import importlib.resources
import os
import subprocess
import sys
import sysconfig

import pytest

from support import environ, kernel_refuses_io_uring, run_python

pytestmark = pytest.mark.asyncio_is_worse("of the package only")


@pytest.fixture
def rsloop_c(flavour):
    return pytest.importorskip("rsloop_c")


def test_public_names_exist(rsloop_c):
    assert {"run", "Loop", "new_event_loop", "EventLoopPolicy", "install",
            "uninstall", "build_info", "runtime_info", "__version__"} \
        <= set(rsloop_c.__all__)
    for name in rsloop_c.__all__:
        assert getattr(rsloop_c, name) is not None


def test_version_is_the_distributions(rsloop_c):
    assert rsloop_c.__version__ == importlib.metadata.version("rsloop_c")


def test_import_patches_nothing(flavour):
    """Every module loaded before keeps every attribute it had."""
    done = run_python("""
        import ssl, socket, signal, selectors, subprocess, threading
        import asyncio.unix_events, asyncio.sslproto, uuid, logging
        before = {name: dict(vars(module))
                  for name, module in list(sys.modules.items())
                  if module is not None and name != "__main__"}
        handlers = [signal.getsignal(n) for n in signal.valid_signals()]
        import rsloop_c
        changed = []
        for name, attributes in before.items():
            now = vars(sys.modules[name])
            for key, value in attributes.items():
                if now.get(key, None) is not value:
                    changed.append(f"{name}.{key}")
            if name.split(".")[0] in ("asyncio", "ssl", "socket", "signal"):
                changed += [f"new {name}.{key}" for key in now
                            if key not in attributes
                            and not hasattr(now[key], "__spec__")]
        assert handlers == [signal.getsignal(n)
                            for n in signal.valid_signals()]
        assert threading.active_count() == 1
        print([name for name in changed
               if not name.startswith(("sys.", "importlib", "_frozen",
                                       "threading._", "warnings."))])
        """, flavour)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_import_starts_no_thread_and_opens_no_descriptor(flavour):
    done = run_python("""
        before = os.listdir("/proc/self/fd"), os.listdir("/proc/self/task")
        import rsloop_c
        after = os.listdir("/proc/self/fd"), os.listdir("/proc/self/task")
        print(before == after)
        """, flavour)
    assert done.stdout == "True\n", done.stderr


def test_import_warns_of_nothing(flavour):
    done = run_python("import rsloop_c", flavour, "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")


def test_stubs_and_type_marker_are_installed(rsloop_c):
    folder = importlib.resources.files("rsloop_c")
    assert (folder / "py.typed").is_file()
    assert (folder / "_core.pyi").is_file()


def test_build_info_says_how_it_was_built(rsloop_c):
    info = rsloop_c.build_info()
    assert info["version"] == rsloop_c.__version__
    assert set(info["backends"]) >= {"epoll", "io_uring"}
    assert info["free_threaded"] is bool(
        sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert all(isinstance(key, str) for key in info)


def test_build_info_is_a_new_dict_each_time(rsloop_c):
    rsloop_c.build_info().clear()
    assert rsloop_c.build_info()


def test_runtime_info_names_the_backend_of_the_running_loop(
        rsloop_c, flavour, loop):
    async def main():
        return rsloop_c.runtime_info()

    info = loop.run_until_complete(main())
    assert info["backend"] == flavour.backend == loop.backend
    assert info["reason"]


def test_runtime_info_takes_a_loop(rsloop_c, flavour, loop):
    assert rsloop_c.runtime_info(loop)["backend"] == flavour.backend


def test_runtime_info_without_a_loop_tells_what_would_be_chosen(rsloop_c):
    assert rsloop_c.runtime_info()["backend"] in ("epoll", "io_uring")


def test_runtime_info_refuses_other_loops(rsloop_c):
    other = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError):
        rsloop_c.runtime_info(other)
    other.close()


def test_runtime_info_of_a_closed_loop_does_not_crash(rsloop_c, loop):
    loop.close()
    try:
        rsloop_c.runtime_info(loop)
    except RuntimeError as exc:
        assert "closed" in str(exc)


@pytest.mark.parametrize("name", ["kqueue", "EPOLL", "io_uring "])
def test_unknown_backend_is_a_value_error(rsloop_c, name):
    with pytest.raises(ValueError):
        rsloop_c.new_event_loop(backend=name)


@pytest.mark.parametrize("wrong", [3, b"epoll", object()])
def test_backend_of_the_wrong_type_is_a_type_error(rsloop_c, wrong):
    with pytest.raises(TypeError):
        rsloop_c.new_event_loop(backend=wrong)


def test_backend_is_taken_from_the_environment(rsloop_c, flavour):
    with environ(RSLOOP_C_BACKEND=flavour.backend):
        loop = rsloop_c.new_event_loop()
    assert loop.backend == flavour.backend
    loop.close()


def test_argument_wins_over_the_environment(rsloop_c, flavour):
    other = {"epoll": "io_uring", "io_uring": "epoll"}[flavour.backend]
    with environ(RSLOOP_C_BACKEND=other):
        loop = rsloop_c.new_event_loop(backend=flavour.backend)
    assert loop.backend == flavour.backend
    loop.close()


def test_unknown_backend_in_the_environment_is_a_value_error(rsloop_c):
    with environ(RSLOOP_C_BACKEND="kqueue"):
        with pytest.raises(ValueError, match="RSLOOP_C_BACKEND|kqueue"):
            rsloop_c.new_event_loop()


def test_auto_takes_io_uring_where_the_kernel_gives_it(rsloop_c):
    loop = rsloop_c.new_event_loop(backend="auto")
    info = rsloop_c.runtime_info(loop)
    if kernel_refuses_io_uring():
        assert loop.backend == "epoll"
    assert loop.backend in ("epoll", "io_uring")
    assert info["reason"]
    loop.close()


def test_private_types_cannot_be_made_by_hand(rsloop_c, loop):
    from rsloop_c import _core
    for name in ("Handle", "TimerHandle", "StreamTransport"):
        kind = getattr(_core, name)
        for arguments in ((), (None,), (None, None), (print, (), loop),
                          (1, print, (), loop), (loop, None, None)):
            try:
                thing = kind(*arguments)
            except (TypeError, ValueError, RuntimeError):
                continue
            # One that can be made must be usable: it is asyncio's own kind.
            assert isinstance(thing, (asyncio.Handle, asyncio.Transport))
            repr(thing)


def test_new_without_init_does_not_crash(rsloop_c):
    """Objects whose __init__ never ran, as copy and pickle make them."""
    import warnings

    from rsloop_c import _core
    for kind in (rsloop_c.Loop, _core.Handle, _core.TimerHandle,
                 _core.StreamTransport):
        try:
            thing = kind.__new__(kind)
        except TypeError:
            continue
        for name in dir(kind):
            if name.startswith("_"):
                continue
            try:
                value = getattr(thing, name)
                if callable(value) and name not in ("run_forever",):
                    result = value()
                    if asyncio.iscoroutine(result):
                        result.close()
            except Exception:
                pass
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del thing


@pytest.mark.parametrize("protocol", range(2, 6))
def test_loop_and_handles_refuse_pickling(rsloop_c, loop, protocol):
    import pickle
    for thing in (loop, loop.call_soon(print)):
        with pytest.raises(Exception):
            pickle.dumps(thing, protocol)


def test_extension_keeps_the_gil_off_where_it_is_off(flavour):
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this build has a GIL")
    done = run_python("""
        before = sys._is_gil_enabled()
        import rsloop_c
        print(before, sys._is_gil_enabled())
        """, flavour, "-W", "error")
    assert done.stdout == "False False\n", done.stderr


def test_import_in_a_subinterpreter_with_its_own_gil(flavour):
    if sys.version_info < (3, 13):
        pytest.skip("_interpreters is new in 3.13")
    done = run_python("""
        import _interpreters
        code = chr(10).join([
            "import sys",
            f"sys.path[:] = {sys.path!r}",
            "import asyncio, rsloop_c",
            "loop = rsloop_c.new_event_loop()",
            "assert loop.run_until_complete(asyncio.sleep(0.001, 42)) == 42",
            "loop.close()",
        ])
        for _ in range(2):
            interpreter = _interpreters.create("isolated")
            print(_interpreters.run_string(interpreter, code))
            _interpreters.destroy(interpreter)
        """, flavour)
    assert done.stdout == "None\nNone\n", done.stdout + done.stderr


def test_module_survives_being_imported_again(flavour):
    done = run_python("""
        import rsloop_c
        first = rsloop_c.new_event_loop()
        for name in [n for n in sys.modules if n.startswith("rsloop_c")]:
            del sys.modules[name]
        import rsloop_c as again
        second = again.new_event_loop()
        for loop in (first, second):
            assert loop.run_until_complete(asyncio.sleep(0.001, 1)) == 1
            loop.close()
        print("fine")
        """, flavour)
    assert done.stdout == "fine\n", done.stderr


def test_uvicorn_style_import_string_makes_a_loop(rsloop_c, loop_factory):
    import importlib
    module, _, attribute = "rsloop_c:new_event_loop".partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    loop = factory()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.close()


def test_package_needs_nothing_but_the_standard_library(flavour):
    done = subprocess.run(
        [sys.executable, "-c",
         "import sys, rsloop_c, asyncio\n"
         "rsloop_c.run(asyncio.sleep(0))\n"
         "foreign = {n.split('.')[0] for n in sys.modules}"
         " - set(sys.stdlib_module_names)\n"
         "print(sorted(n for n in foreign"
         " if not n.startswith(('_', 'sitecustomize'))))"],
        env={**os.environ, **flavour.environment()}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "rsloop_c" in done.stdout, done.stderr
    assert done.stderr == ""
