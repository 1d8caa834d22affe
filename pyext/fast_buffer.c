/* SPDX-License-Identifier: Apache-2.0 */
#include "fast_buffer.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_MIN ((size_t)4096)

/* An empty block up to this size is kept for the next bytes; an idle connection
 * has no larger one. */
#define BLOCK_KEPT_MAX BLOCK_MIN

static void
buffer_free_block(pyrsl_buffer *self)
{
    free(self->block);
    self->block = NULL;
    self->cap = 0;
}

/* The content is gone. */
static void
buffer_reset(pyrsl_buffer *self)
{
    PyObject *whole = self->whole;
    self->whole = NULL;
    self->start = 0;
    self->size = 0;
    if (self->cap > BLOCK_KEPT_MAX) {
        buffer_free_block(self);
    }
    Py_XDECREF(whole);
}

void
pyrsl_buffer_clear(pyrsl_buffer *self)
{
    Py_CLEAR(self->shown);
    buffer_reset(self);
    buffer_free_block(self);
}

/* --- Growing --- */

/* Move the content to a block with `ahead` free bytes in front of it and
 * `behind` after it. */
static int
buffer_move(pyrsl_buffer *self, size_t ahead, size_t behind)
{
    size_t need = ahead + self->size + behind;
    size_t cap = need + need / 2;
    cap = cap < BLOCK_MIN ? BLOCK_MIN : cap;
    char *block = malloc(cap);
    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (self->size > 0) {
        memcpy(block + ahead, pyrsl_buffer_data(self), self->size);
    }
    PyObject *whole = self->whole;
    free(self->block);
    self->whole = NULL;
    self->block = block;
    self->cap = cap;
    self->start = ahead;
    Py_XDECREF(whole);
    return 0;
}

/* Room for `extra` more bytes behind the content, in the block. */
static int
buffer_reserve(pyrsl_buffer *self, size_t extra)
{
    if (self->whole == NULL && self->block != NULL) {
        if (self->start + self->size + extra <= self->cap) {
            return 0;
        }
        if (self->size <= self->start && self->size + extra <= self->cap) {
            memcpy(self->block, self->block + self->start, self->size);
            self->start = 0;
            return 0;
        }
    }
    return buffer_move(self, 0, extra);
}

static int
buffer_extend_shown(pyrsl_buffer *self, const char *data, size_t size)
{
    Py_ssize_t before = PyByteArray_GET_SIZE(self->shown);
    if (PyByteArray_Resize(self->shown, before + (Py_ssize_t)size) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(self->shown) + before, data, size);
    return 0;
}

int
pyrsl_buffer_copy(pyrsl_buffer *self, const char *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (self->shown != NULL) {
        return buffer_extend_shown(self, data, size);
    }
    if (buffer_reserve(self, size) < 0) {
        return -1;
    }
    memcpy(self->block + self->start + self->size, data, size);
    self->size += size;
    return 0;
}

int
pyrsl_buffer_put(pyrsl_buffer *self, PyObject *bytes)
{
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    if (self->shown != NULL || self->size > 0 || !PyBytes_CheckExact(bytes)) {
        return pyrsl_buffer_copy(self, PyBytes_AS_STRING(bytes), size);
    }
    Py_XSETREF(self->whole, Py_NewRef(bytes));
    self->start = 0;
    self->size = size;
    return 0;
}

int
pyrsl_buffer_unread(pyrsl_buffer *self, PyObject *bytes)
{
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    if (self->shown != NULL) {
        return PySequence_SetSlice(self->shown, 0, 0, bytes);
    }
    if (self->size == 0) {
        return pyrsl_buffer_put(self, bytes);
    }
    if (buffer_move(self, size, 0) < 0) {
        return -1;
    }
    memcpy(self->block, PyBytes_AS_STRING(bytes), size);
    self->start = 0;
    self->size += size;
    return 0;
}

/* --- Shrinking --- */

int
pyrsl_buffer_drop(pyrsl_buffer *self, size_t size)
{
    if (self->shown != NULL) {
        return PySequence_DelSlice(self->shown, 0, (Py_ssize_t)size);
    }
    if (size == self->size) {
        buffer_reset(self);
    } else {
        self->start += size;
        self->size -= size;
    }
    return 0;
}

PyObject *
pyrsl_buffer_take(pyrsl_buffer *self, size_t size)
{
    PyObject *whole = self->whole;
    if (whole != NULL && self->shown == NULL
        && size == (size_t)PyBytes_GET_SIZE(whole)) {
        self->whole = NULL;
        self->size = 0;
        return whole;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(
        size == 0 ? NULL : pyrsl_buffer_data(self), (Py_ssize_t)size);
    if (bytes != NULL && pyrsl_buffer_drop(self, size) < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* --- As a bytearray --- */

PyObject *
pyrsl_buffer_show(pyrsl_buffer *self)
{
    if (self->shown == NULL) {
        PyObject *shown = PyByteArray_FromStringAndSize(
            self->size == 0 ? NULL : pyrsl_buffer_data(self),
            (Py_ssize_t)self->size);
        if (shown == NULL) {
            return NULL;
        }
        pyrsl_buffer_clear(self);
        self->shown = shown;
    }
    return Py_NewRef(self->shown);
}

void
pyrsl_buffer_replace(pyrsl_buffer *self, PyObject *bytearray)
{
    Py_INCREF(bytearray);
    pyrsl_buffer_clear(self);
    self->shown = bytearray;
}
