# SPDX-License-Identifier: Apache-2.0
#
# rsl_flags: how every target of ours is compiled and linked.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(rsl_flags INTERFACE)
target_compile_definitions(rsl_flags INTERFACE _GNU_SOURCE)
target_compile_options(rsl_flags INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Wstrict-prototypes
    $<$<BOOL:${RSL_WERROR}>:-Werror>
    $<$<CONFIG:Release,RelWithDebInfo>:-fno-plt>
)

if(RSL_SANITIZE)
    # With the assertions, which a release build leaves out.
    target_compile_options(rsl_flags INTERFACE -fsanitize=${RSL_SANITIZE}
        -fno-sanitize-recover=all -fno-omit-frame-pointer -g -UNDEBUG)
    target_link_options(rsl_flags INTERFACE -fsanitize=${RSL_SANITIZE})
endif()

if(RSL_LIBFUZZER)
    target_compile_options(rsl_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(RSL_COVERAGE)
    target_compile_options(rsl_flags INTERFACE --coverage -O0 -g)
    target_link_options(rsl_flags INTERFACE --coverage)
endif()

# Instrumented code is not for speed, and LTO would blur its stacks.
if(RSL_LTO AND NOT RSL_SANITIZE AND NOT RSL_COVERAGE
   AND CMAKE_BUILD_TYPE STREQUAL "Release")
    include(CheckIPOSupported)
    check_ipo_supported(RESULT rsl_ipo OUTPUT rsl_ipo_output LANGUAGES C)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${rsl_ipo})
endif()
