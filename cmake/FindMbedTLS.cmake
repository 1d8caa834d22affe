# SPDX-License-Identifier: Apache-2.0
#
# MbedTLS_VERSION and MBEDTLS_INCLUDE_DIR, looked for as liburing is. The
# headers alone are found: nothing links the library yet.

find_path(MBEDTLS_INCLUDE_DIR mbedtls/build_info.h
    PATHS "${RSL_DEPS_PREFIX}/include" NO_DEFAULT_PATH)
find_path(MBEDTLS_INCLUDE_DIR mbedtls/build_info.h)
mark_as_advanced(MBEDTLS_INCLUDE_DIR)

if(MBEDTLS_INCLUDE_DIR)
    file(STRINGS "${MBEDTLS_INCLUDE_DIR}/mbedtls/build_info.h" lines
        REGEX "define MBEDTLS_VERSION_STRING ")
    string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" MbedTLS_VERSION "${lines}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MbedTLS
    REQUIRED_VARS MBEDTLS_INCLUDE_DIR VERSION_VAR MbedTLS_VERSION)
