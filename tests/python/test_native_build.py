# SPDX-License-Identifier: Apache-2.0
"""Extensions as others build them: by the snippets of docs/native-api.md, by CMake
and setuptools, in C and C++, against the header of another version; and that the
tests leave no function of the header out."""

import asyncio
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import native
import rsloop_c
from support import run

pytestmark = pytest.mark.asyncio_is_worse("it has no such interface")

ROOT = Path(__file__).resolve().parents[2]
HEADER = Path(rsloop_c.get_include()) / "rsloop_c.h"
PAGE = (ROOT / "docs" / "native-api.md").read_text()


def table():
    """The names of the table's functions."""
    body = re.search(r"struct rsloop_api \{(.*?)\n\};", HEADER.read_text(), re.DOTALL)
    return re.findall(r"^    \w[\w *]*?\(\*(\w+)\)\(", body[1], re.MULTILINE)


def functions():
    """The names of the header's functions."""
    return re.findall(r"^(rsloop_\w+)\(", HEADER.read_text(), re.MULTILINE)


# --- nothing is left out ---

def test_each_function_is_exercised():
    here = Path(__file__).parent
    code = "".join((here / name).read_text() for name in native.SOURCES)
    assert len(table()) >= 26 and len(functions()) >= 30
    missing = [name for name in functions() if not re.search(rf"\b{name}\(", code)]
    assert not missing, f"native_probe*.c does not call {missing}"
    # Each entry of the table is reached by a function.
    inline = HEADER.read_text().partition("--- The table ---")[2]
    missing = [name for name in table() if f"api->{name}(" not in inline]
    assert not missing, f"no function of the header calls {missing}"


def test_each_function_is_documented():
    """By a comment that says where it runs, or that of the function before."""
    text = HEADER.read_text().partition("--- The table ---")[2]
    for name in functions():
        before = text[:text.index(f"\n{name}(")]
        comment = before.rpartition("/*")[2]
        assert re.match(r" \[[GA]\] ", comment), name


# --- the versions of the table ---

VERSIONED = """
#include <rsloop_c.h>
static int
module_exec(PyObject *module)
{
    const rsloop_api *api = rsloop_import();
    return api == NULL
        || PyModule_AddStringConstant(module, "version", api->version) < 0
        || PyModule_AddIntConstant(module, "size", (long)api->size) < 0
        || PyModule_AddIntConstant(module, "needs", (long)sizeof *api) < 0 ? -1 : 0;
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, "versioned", NULL, 0, NULL, slots, NULL, NULL, NULL};
PyMODINIT_FUNC
PyInit_versioned(void)
{
    return PyModuleDef_Init(&def);
}
"""


def build_with_header(folder, header):
    (folder / "rsloop_c.h").write_text(header)
    (folder / "versioned.c").write_text(VERSIONED)
    native.compile_module(folder, "versioned", [folder / "versioned.c"],
                          f"-I{folder}")
    return native.load(folder, "versioned")


def without_last(header):
    """As it was before the table's last function came."""
    header, _, _ = header.rpartition("/* --- The pool --- */")
    header += "#ifdef __cplusplus\n}\n#endif\n#endif\n"
    return re.sub(r"\n    rsloop_status \(\*run_blocking\)\(.*?\);\n", "\n",
                  header, count=1)


def test_extension_built_for_an_older_table(tmp_path):
    module = build_with_header(tmp_path, without_last(HEADER.read_text()))
    assert module.version == rsloop_c.__version__
    assert module.needs == module.size - struct.calcsize("P")


def test_extension_built_for_a_newer_table(tmp_path):
    newer = re.sub(r"(\(\*run_blocking\)\(.*?\);\n)",
                   r"\1    void (*from_the_future)(void);\n",
                   HEADER.read_text(), count=1)
    with pytest.raises(ImportError) as caught:
        build_with_header(tmp_path, newer)
    text = str(caught.value)
    assert text.startswith(f"rsloop_c {rsloop_c.__version__} has ABI 1 of ")
    assert "at least" in text and "upgrade rsloop_c" in text


@pytest.mark.parametrize("version, advice", [(0, "build it again"),
                                             (2, "upgrade rsloop_c")])
def test_extension_built_for_another_abi(tmp_path, version, advice):
    other = HEADER.read_text().replace("#define RSLOOP_ABI_VERSION 1",
                                       f"#define RSLOOP_ABI_VERSION {version}")
    with pytest.raises(ImportError, match=f"needs ABI {version} .*{advice}"):
        build_with_header(tmp_path, other)


def test_extension_without_rsloop_c(tmp_path):
    build_with_header(tmp_path, HEADER.read_text())
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import versioned"], text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 1
    assert re.search(r"Error: .*rsloop_c", done.stderr)


# --- docs/native-api.md, as it stands ---

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def block(first_line):
    """A file that the page shows, which it names in its first line."""
    found = [text for _, text in BLOCKS if text.startswith(first_line + "\n")]
    assert len(found) == 1, first_line
    return found[0]


def commands(containing):
    found = [text for language, text in BLOCKS
             if language == "sh" and containing in text]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.c").write_text(block("/* mine.c */"))
    (tmp_path / "try.py").write_text(block("# try.py"))
    native.includes()
    native.compiler()
    return tmp_path


def shell(code, folder, **environment):
    """Run it where `python` is this one and `cc` one that sanitizes alike."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    flags = " ".join([*native.sanitizers(), *native.includes()[:-1]])
    preload = os.environ.get("LD_PRELOAD", "")
    for tool, call in [
            ("cc", f"{native.compiler()} {flags}"),
            # A sanitizer's runtime is for Python alone: it may crash the shell.
            ("python", f"env LD_PRELOAD='{preload}' '{sys.executable}'")]:
        (tools / tool).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (tools / tool).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", code], cwd=folder, text=True, capture_output=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}",
             "PYTHONPATH": str(folder), "LD_PRELOAD": "",
             "PYTHONWARNINGS": "error::RuntimeWarning", **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_page_by_hand(flavour, folder):
    said = shell(commands("cc -shared"), folder, **flavour.environment())
    assert said == "42\n"


def test_page_with_setuptools(folder):
    pytest.importorskip("setuptools")
    (folder / "setup.py").write_text(block("# setup.py"))
    # As pip does it, which would want to install the result.
    compiler, flags = native.compiler(), " ".join(native.sanitizers())
    shell("python setup.py -q build_ext --inplace 2>&1", folder, CC=compiler,
          CFLAGS=flags, LDSHARED=f"{compiler} -shared {flags}")
    assert shell("python try.py", folder) == "42\n"


def test_page_with_cmake(folder):
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    (folder / "CMakeLists.txt").write_text(block("# CMakeLists.txt"))
    shell("cmake -B build -DCMAKE_C_COMPILER=$PWD/tools/cc "
          f"-DPython_EXECUTABLE='{sys.executable}' "
          "-Drsloop_c_DIR=\"$(python -c "
          "'import rsloop_c; print(rsloop_c.get_cmake_dir())')\"\n"
          "cmake --build build && cp build/mine*.so .", folder)
    assert shell("python try.py", folder) == "42\n"


def test_page_in_cpp(folder):
    source = folder / "mine.cpp"
    source.write_text(block("// mine.cpp"))
    subprocess.run(
        [native.compiler("c++"), "-std=c++17", "-Wall", "-Wextra", "-pedantic",
         "-Werror", "-shared", "-fPIC", "-pthread", *native.sanitizers(),
         *native.includes(), "-o", str(folder / "mine.so"), str(source)],
        check=True)
    assert shell("python try.py", folder) == "from C++\n"


def test_rest_of_the_page(flavour, loop, folder, capfd):
    """Its other functions, added to its first module."""
    module = block("/* mine.c */")
    start = module.index("static PyMethodDef")
    others = [text for language, text in BLOCKS
              if language == "c" and not text.startswith("/* mine.c */")]
    assert len(others) == 2
    code = ("#include <errno.h>\n#include <stdio.h>\n" + module[:start]
            + "".join(others) + module[start:].replace(
                '{"answer", answer, METH_NOARGS, NULL},',
                '{"answer", answer, METH_NOARGS, NULL}, {"ask", ask, METH_O, '
                'NULL}, {"twice", twice, METH_O, NULL},'))
    (folder / "mine.c").write_text(code.replace('"mine"', '"mine_too"').replace(
        "PyInit_mine", "PyInit_mine_too"))
    native.compile_module(folder, "mine_too", [folder / "mine.c"],
                          "-Wno-unused-parameter",
                          "-Wno-missing-field-initializers")
    mine = native.load(folder, "mine_too")
    asked = []

    async def hello():
        asked.append(asyncio.current_task())
        return "hello from Python"

    async def main():
        assert await mine.twice(21) == 42
        with pytest.raises(OSError):
            await mine.twice(-1)
        assert await mine.answer() == 42
        assert mine.ask(hello) == "OK"
        while not asked or not asked[0].done():
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(loop, main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        mine.answer()
