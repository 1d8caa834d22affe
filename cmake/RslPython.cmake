# SPDX-License-Identifier: Apache-2.0
#
# rsl_python: the headers of the CPython that the extension is built for, and
# RSL_PYTHON_SUFFIX, the ending of its file name.
#
# The interpreter is asked itself: FindPython knows free-threaded builds only
# since CMake 3.30. scikit-build-core sets Python_EXECUTABLE.

if(NOT Python_EXECUTABLE)
    find_program(Python_EXECUTABLE NAMES python3 REQUIRED)
endif()

execute_process(
    COMMAND "${Python_EXECUTABLE}" -c [[
import os, sys, sysconfig as s
if sys.implementation.name != "cpython" or sys.version_info < (3, 10):
    sys.exit("rsloop_c needs CPython 3.10 or newer")
paths = [s.get_path("include"), s.get_path("platinclude"), s.get_config_var("INCLUDEPY")]
found = [p for p in paths if os.path.exists(os.path.join(p, "Python.h"))]
if not found:
    sys.exit("no Python.h for this Python in " + paths[0] + ": install its headers (Debian: python3-dev)")
print(";".join([s.get_config_var("EXT_SUFFIX"), *dict.fromkeys(found)]))
]]
    OUTPUT_VARIABLE rsl_python_answer
    ERROR_VARIABLE rsl_python_error
    RESULT_VARIABLE rsl_python_status
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE)
if(NOT rsl_python_status EQUAL 0)
    message(FATAL_ERROR "${Python_EXECUTABLE}: ${rsl_python_error}")
endif()

list(POP_FRONT rsl_python_answer RSL_PYTHON_SUFFIX)
message(STATUS "Python: ${Python_EXECUTABLE} (${RSL_PYTHON_SUFFIX})")
add_library(rsl_python INTERFACE)
target_include_directories(rsl_python SYSTEM INTERFACE ${rsl_python_answer})
