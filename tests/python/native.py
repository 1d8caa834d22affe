# SPDX-License-Identifier: Apache-2.0
"""native_probe, the module that hands rsloop_c.h to the tests, and a recorder of
what its callbacks were told."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

import rsloop_c
from support import UNDER_ASAN

UNDER_TSAN = "libtsan" in os.environ.get("LD_PRELOAD", "")
HERE = Path(__file__).resolve().parent
SOURCES = ("native_probe.c", "native_probe_calls.c", "native_probe_storm.c")
# Where a function is called from: a thread with the GIL, or one without.
FROM = pytest.mark.parametrize("alone", [False, True], ids=["python", "native"])

WARNINGS = ("-Wall", "-Wextra", "-Werror")


def includes():
    """Folders of Python.h, which may warn, and of rsloop_c.h, which may not."""
    paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude"),
             sysconfig.get_config_var("INCLUDEPY")}
    found = [f"-isystem{path}" for path in paths
             if path and os.path.exists(os.path.join(path, "Python.h"))]
    if not found:
        pytest.skip("no Python.h for this Python")
    return [*found, f"-I{rsloop_c.get_include()}"]


def compiler(name="cc"):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no compiler ({name})")
    return path


def sanitizers():
    """What rsloop_c is built with, so that its extensions are too."""
    if UNDER_TSAN:
        return ["-fsanitize=thread"]
    if UNDER_ASAN:
        return ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return []


def compile_module(folder, name, sources, *options):
    """Makes folder/name.so."""
    subprocess.run(
        [compiler(), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-shared",
         "-fPIC", "-pthread", *WARNINGS, *options, *sanitizers(),
         *includes(),
         "-o", str(folder / f"{name}.so"), *map(str, sources)],
        check=True)


def compile_probe(folder):
    compile_module(folder, "native_probe", [HERE / name for name in SOURCES])


def load(folder, name):
    spec = importlib.util.spec_from_file_location(
        name, str(folder / f"{name}.so"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Recorder:
    """What callbacks said, in order, and the answers they get: a value, or an
    exception to raise. Each must come on the loop's thread."""

    def __init__(self, **answers):
        self.said = []
        self.answers = answers
        self.thread = threading.get_ident()

    def __call__(self, *what):
        assert threading.get_ident() == self.thread
        self.said.append(" ".join(str(word) for word in what))
        answer = self.answers.get(what[0])
        if callable(answer):
            return answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer
