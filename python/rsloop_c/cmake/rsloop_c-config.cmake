# SPDX-License-Identifier: Apache-2.0
#
# find_package(rsloop_c CONFIG): the target rsloop_c::rsloop_c, a header. Nothing
# is linked: the functions come from the rsloop_c that is imported at run time.

if(NOT TARGET rsloop_c::rsloop_c)
    add_library(rsloop_c::rsloop_c INTERFACE IMPORTED)
    set_target_properties(rsloop_c::rsloop_c PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}/../include")
endif()
