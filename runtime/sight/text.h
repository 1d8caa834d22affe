/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - a text that grows.
 *
 * Thread:  one at a time.
 * Memory:  free(text->bytes) when it is done with. */
#ifndef RSL_SIGHT_TEXT_H
#define RSL_SIGHT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rsl_text {
    char *bytes;
    size_t len, cap;
    bool failed; /* there was no memory: something is missing */
} rsl_text;

/* Append as printf(3) would. */
void rsl_text_add(rsl_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
