/* SPDX-License-Identifier: Apache-2.0 */
#include "sight/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_CAP_MIN = 4096 };

static bool
text_grow(rsl_text *text, size_t needed)
{
    size_t cap = text->cap == 0 ? TEXT_CAP_MIN : text->cap;
    char *bytes;

    while (cap < needed) {
        cap *= 2;
    }
    if (cap == text->cap) {
        return true;
    }
    bytes = realloc(text->bytes, cap);
    if (bytes == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->cap = cap;
    return true;
}

void
rsl_text_add(rsl_text *text, const char *format, ...)
{
    va_list args, again;
    int len;

    if (text->failed) {
        return;
    }
    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    if (len < 0) {
        text->failed = true;
    } else if (text_grow(text, text->len + (size_t)len + 1)) {
        (void)vsnprintf(text->bytes + text->len, (size_t)len + 1, format,
                        again); /* as long as before */
        text->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}
