# SPDX-License-Identifier: Apache-2.0
"""Where the parts are that a native extension is built with: rsloop_c.h."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def get_include() -> str:
    """The folder of rsloop_c.h, for the compiler's -I."""
    return str(_PACKAGE / "include")


def get_cmake_dir() -> str:
    """The folder of rsloop_c-config.cmake, for CMake's -Drsloop_c_DIR=."""
    return str(_PACKAGE / "cmake")
