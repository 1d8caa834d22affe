/* SPDX-License-Identifier: Apache-2.0 */
/* entries.h - what a test leaves open: descriptors and threads in /proc. */
#ifndef RSL_TESTS_ENTRIES_H
#define RSL_TESTS_ENTRIES_H

/* The entries of a folder, "." and ".." included. One of /proc/self/fd is the
 * folder itself: compare counts. */
unsigned entries_of(const char *path);

#endif
