# SPDX-License-Identifier: Apache-2.0
#
# Liburing::Liburing, from RSL_DEPS_PREFIX if it is there, else the system's.
# The static library goes first: a wheel then needs no liburing where it runs.

set(deps "${RSL_DEPS_PREFIX}")
find_path(LIBURING_INCLUDE_DIR liburing.h
    PATHS "${deps}/include" NO_DEFAULT_PATH)
find_path(LIBURING_INCLUDE_DIR liburing.h)
find_library(LIBURING_LIBRARY liburing.a
    PATHS "${deps}/lib" "${deps}/lib/${CMAKE_C_LIBRARY_ARCHITECTURE}"
    NO_DEFAULT_PATH)
find_library(LIBURING_LIBRARY NAMES liburing.a uring)
mark_as_advanced(LIBURING_INCLUDE_DIR LIBURING_LIBRARY)

if(LIBURING_INCLUDE_DIR)
    set(header "${LIBURING_INCLUDE_DIR}/liburing/io_uring_version.h")
    if(EXISTS "${header}")
        file(STRINGS "${header}" lines REGEX "define IO_URING_VERSION_M")
        string(REGEX REPLACE
            ".*MAJOR[ \t]+([0-9]+).*MINOR[ \t]+([0-9]+).*" "\\1.\\2"
            Liburing_VERSION "${lines}")
    else()
        set(Liburing_VERSION 2.2) # the last one without that header
    endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Liburing
    REQUIRED_VARS LIBURING_LIBRARY LIBURING_INCLUDE_DIR
    VERSION_VAR Liburing_VERSION
    REASON_FAILURE_MESSAGE
    "install liburing-dev 2.9 or newer (in a checkout: run scripts/deps)")

if(Liburing_FOUND AND NOT TARGET Liburing::Liburing)
    add_library(Liburing::Liburing UNKNOWN IMPORTED)
    set(dirs "${LIBURING_INCLUDE_DIR}")
    # The prefix has its own kernel headers, some of them by architecture.
    if(EXISTS "${dirs}/${CMAKE_C_LIBRARY_ARCHITECTURE}/asm"
       AND dirs STREQUAL "${deps}/include")
        list(APPEND dirs "${dirs}/${CMAKE_C_LIBRARY_ARCHITECTURE}")
    endif()
    set_target_properties(Liburing::Liburing PROPERTIES
        IMPORTED_LOCATION "${LIBURING_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${dirs}")
endif()
