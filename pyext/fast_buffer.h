/* SPDX-License-Identifier: Apache-2.0 */
/* fast_buffer.h - the bytes that a StreamReader has and nobody has read yet.
 *
 * Role:    a queue of bytes. What arrives while it is empty is kept as the
 *          object that it came in, and handed out as that when it is read
 *          whole; anything else is copied once.
 * Thread:  whoever has the reader.
 * Memory:  embedded; zeroed means empty. */
#ifndef PYRSL_FAST_BUFFER_H
#define PYRSL_FAST_BUFFER_H

#include <stddef.h>

#include "pycompat.h"

typedef struct pyrsl_buffer {
    PyObject *whole; /* bytes that have the content, or NULL: `block` has it */
    char *block;     /* of malloc(), or NULL */
    size_t cap;
    size_t start; /* of the content in `whole` or in `block` */
    size_t size;
    /* A bytearray that somebody has been shown, or NULL. From then on it has
     * the content, whatever they do with it. */
    PyObject *shown;
} pyrsl_buffer;

static inline size_t
pyrsl_buffer_size(const pyrsl_buffer *self)
{
    return self->shown == NULL ? self->size
                               : (size_t)PyByteArray_GET_SIZE(self->shown);
}

/* Valid until the next change. */
static inline const char *
pyrsl_buffer_data(const pyrsl_buffer *self)
{
    if (self->shown != NULL) {
        return PyByteArray_AS_STRING(self->shown);
    }
    return self->whole != NULL ? PyBytes_AS_STRING(self->whole) + self->start
                               : self->block + self->start;
}

/* Append a bytes object; borrowed, but a reference may be kept. -1 with an
 * exception. */
int pyrsl_buffer_put(pyrsl_buffer *self, PyObject *bytes);

/* Append a copy. */
int pyrsl_buffer_copy(pyrsl_buffer *self, const char *data, size_t size);

/* Put bytes back in front of the content. */
int pyrsl_buffer_unread(pyrsl_buffer *self, PyObject *bytes);

/* Take the first `size` bytes, of so many at least, as a bytes object. NULL
 * with an exception, and then nothing is lost. */
PyObject *pyrsl_buffer_take(pyrsl_buffer *self, size_t size);

/* Remove the first `size` bytes, of so many at least. */
int pyrsl_buffer_drop(pyrsl_buffer *self, size_t size);

/* The content as a bytearray that stays the content: a new reference. */
PyObject *pyrsl_buffer_show(pyrsl_buffer *self);

/* Replace the content by a bytearray, which is kept. */
void pyrsl_buffer_replace(pyrsl_buffer *self, PyObject *bytearray);

/* Forget everything. */
void pyrsl_buffer_clear(pyrsl_buffer *self);

#endif
