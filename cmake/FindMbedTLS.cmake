# SPDX-License-Identifier: Apache-2.0
#
# MbedTLS_VERSION, MBEDTLS_INCLUDE_DIR and, where the libraries are there too,
# MbedTLS::MbedTLS; looked for as liburing is. MbedTLS::Static is the static
# library where there is one, which the extension takes into itself.

find_path(MBEDTLS_INCLUDE_DIR mbedtls/build_info.h
    PATHS "${RSL_DEPS_PREFIX}/include" NO_DEFAULT_PATH)
find_path(MBEDTLS_INCLUDE_DIR mbedtls/build_info.h)
set(MBEDTLS_LIBRARIES "")
set(MBEDTLS_STATIC "")
foreach(part IN ITEMS tls x509 crypto)
    find_library(MBEDTLS_${part}_LIBRARY mbed${part}
        PATHS "${RSL_DEPS_PREFIX}/lib"
              "${RSL_DEPS_PREFIX}/lib/${CMAKE_C_LIBRARY_ARCHITECTURE}"
        NO_DEFAULT_PATH)
    find_library(MBEDTLS_${part}_LIBRARY mbed${part})
    find_library(MBEDTLS_${part}_STATIC libmbed${part}.a
        PATHS "${RSL_DEPS_PREFIX}/lib"
              "${RSL_DEPS_PREFIX}/lib/${CMAKE_C_LIBRARY_ARCHITECTURE}"
        NO_DEFAULT_PATH)
    find_library(MBEDTLS_${part}_STATIC libmbed${part}.a)
    mark_as_advanced(MBEDTLS_${part}_LIBRARY MBEDTLS_${part}_STATIC)
    list(APPEND MBEDTLS_LIBRARIES "${MBEDTLS_${part}_LIBRARY}")
    list(APPEND MBEDTLS_STATIC "${MBEDTLS_${part}_STATIC}")
endforeach()
mark_as_advanced(MBEDTLS_INCLUDE_DIR)

if(MBEDTLS_INCLUDE_DIR)
    file(STRINGS "${MBEDTLS_INCLUDE_DIR}/mbedtls/build_info.h" lines
        REGEX "define MBEDTLS_VERSION_STRING ")
    string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" MbedTLS_VERSION "${lines}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MbedTLS
    REQUIRED_VARS MBEDTLS_INCLUDE_DIR VERSION_VAR MbedTLS_VERSION)

if(MbedTLS_FOUND AND NOT "${MBEDTLS_LIBRARIES}" MATCHES "NOTFOUND"
   AND NOT TARGET MbedTLS::MbedTLS)
    add_library(MbedTLS::MbedTLS INTERFACE IMPORTED)
    set_target_properties(MbedTLS::MbedTLS PROPERTIES
        INTERFACE_LINK_LIBRARIES "${MBEDTLS_LIBRARIES}"
        INTERFACE_INCLUDE_DIRECTORIES "${MBEDTLS_INCLUDE_DIR}")
endif()
if(TARGET MbedTLS::MbedTLS AND NOT "${MBEDTLS_STATIC}" MATCHES "NOTFOUND"
   AND NOT TARGET MbedTLS::Static)
    add_library(MbedTLS::Static INTERFACE IMPORTED)
    set_target_properties(MbedTLS::Static PROPERTIES
        INTERFACE_LINK_LIBRARIES "${MBEDTLS_STATIC}")
endif()
