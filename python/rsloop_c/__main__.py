# SPDX-License-Identifier: Apache-2.0
"""python -m rsloop_c: run any asyncio program on rsloop_c.

    python -m rsloop_c SCRIPT [ARG...]
    python -m rsloop_c -m MODULE [ARG...]
    python -m rsloop_c -c CODE [ARG...]
    python -m rsloop_c --info | --version

The program sees what `python SCRIPT` shows it: sys.argv, sys.path, __main__,
tracebacks, exit codes. Its event loops are rsloop_c's, whatever way it makes
them: asyncio.run, Runner, new_event_loop, get_event_loop, SelectorEventLoop,
the default policy, or uvloop by name. RSLOOP_C_BACKEND=auto|io_uring|epoll
chooses how they wait.
"""

from __future__ import annotations

import builtins
import io
import json
import linecache
import marshal
import os
import pkgutil
import runpy
import sys
import textwrap
from collections.abc import Callable
from importlib.machinery import (
    BuiltinImporter,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import MAGIC_NUMBER
from types import CodeType, ModuleType
from typing import Any, TypeVar

from ._activate import activate
from ._core import build_info
from ._info import runtime_info

_T = TypeVar("_T")

# What `python -m` itself calls; runpy.run_module() leaves __main__ alone.
_run_module_as_main: Any = vars(runpy)["_run_module_as_main"]


def main(argv: list[str]) -> None:
    """Run what argv (without this program's own name) asks for."""
    first, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if first in ("-h", "--help"):
        print(__doc__, file=sys.stdout if argv else sys.stderr)
        sys.exit(0 if argv else 2)
    if first in ("-V", "--version"):
        print("rsloop_c", build_info()["version"])
    elif first == "--info":
        print(json.dumps({"build": build_info(), "runtime": runtime_info()}, indent=2))
    else:
        activate()
        _run(first, rest)


def _run(first: str, rest: list[str]) -> None:
    if first[:2] in ("-m", "-c"):
        if len(first) > 2:
            rest = [first[2:], *rest]
        if not rest:
            _fail(f"argument expected for the {first[:2]} option")
        (_run_module if first[1] == "m" else _run_command)(rest)
    elif first == "-":
        _run_source(sys.stdin.buffer.read(), "<stdin>", ["-", *rest])
    elif first.startswith("-"):
        _fail(f"unknown option {first}; --help says what there is")
    else:
        _run_script([first, *rest])


def _fail(message: str) -> None:
    print(f"{sys.executable} -m rsloop_c: {message}", file=sys.stderr)
    sys.exit(2)


def _run_module(argv: list[str]) -> None:
    _new_main(BuiltinImporter)
    sys.argv = ["-m", *argv[1:]]
    _call(lambda: _run_module_as_main(argv[0]), hidden=2)


def _run_command(argv: list[str]) -> None:
    source = argv[0]
    if sys.version_info >= (3, 14):
        source = textwrap.dedent(source)
    if sys.version_info >= (3, 13):
        # Since then tracebacks show the lines of code that has no file.
        lines = source.splitlines(keepends=True)
        linecache.cache["<string>"] = (len(source), None, lines, "<string>")
    _run_source(source.encode(), "<string>", ["-c", *argv[1:]])


def _run_source(source: bytes, name: str, argv: list[str]) -> None:
    _set_first_path("")
    sys.argv = argv
    _execute(lambda: compile(source, name, "exec", dont_inherit=True), BuiltinImporter)


def _run_script(argv: list[str]) -> None:
    sys.argv = argv
    path = os.path.join(os.getcwd(), argv[0])
    if pkgutil.get_importer(path) is not None:
        # A folder or a zip file with a __main__.py.
        _set_first_path(path, always=True)
        _new_main(BuiltinImporter)
        _call(lambda: _run_module_as_main("__main__", alter_argv=False), hidden=2)
        return
    try:
        with io.open_code(path) as file:
            content = file.read()
    except OSError as exc:
        _fail(f"can't open file {path!r}: [Errno {exc.errno}] {exc.strerror}")
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    if content.startswith(MAGIC_NUMBER):
        _execute(
            lambda: marshal.loads(content[16:]),
            SourcelessFileLoader("__main__", path),
            path,
        )
    else:
        _execute(
            lambda: compile(content, path, "exec", dont_inherit=True),
            SourceFileLoader("__main__", path),
            path,
        )


def _set_first_path(path: str, always: bool = False) -> None:
    """`python -m` has put the working directory first, unless it is to be safe."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = path
    elif always:
        sys.path.insert(0, path)


def _new_main(loader: Any, path: str | None = None) -> dict[str, Any]:
    """Replace the module __main__, so that the program starts with a fresh one."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    names = vars(module)
    names.update(__builtins__=builtins, __loader__=loader)
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    if path is not None:
        names["__file__"] = path
        if sys.version_info < (3, 15):
            names["__cached__"] = None
    return names


def _execute(
    make_code: Callable[[], CodeType], loader: Any, path: str | None = None
) -> None:
    names = _new_main(loader, path)
    # A syntax error's traceback is empty, as Python's own is.
    code = _call(make_code, hidden=2)
    _call(lambda: exec(code, names), hidden=2)


def _call(body: Callable[[], _T], *, hidden: int) -> _T:
    """body(), without the first `hidden` frames in the traceback of an error."""
    try:
        return body()
    except SystemExit:
        raise
    except BaseException as exc:
        _hide_frames(exc, hidden)
        raise


def _hide_frames(exc: BaseException, count: int) -> None:
    """Let the traceback begin with the program, not with this file.

    The exception itself must go on to the interpreter, which knows its exit
    code and dies by SIGINT after a KeyboardInterrupt.
    """
    traceback = exc.__traceback__
    for _ in range(count):
        if traceback is not None:
            traceback = traceback.tb_next
    hook = sys.excepthook

    def excepthook(kind: Any, value: BaseException, _: Any) -> None:
        sys.excepthook = hook
        value.__traceback__ = traceback
        hook(kind, value, traceback)

    sys.excepthook = excepthook


if __name__ == "__main__":
    main(sys.argv[1:])
