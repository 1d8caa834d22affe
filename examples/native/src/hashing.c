/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking work on the pool: several files are hashed at once, off the GIL. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example.h"

enum { BLOCK_BYTES = 64 * 1024 };

typedef struct hashing {
    uint64_t hash;
    char path[];
} hashing;

/* A thread of the pool. It looks whether somebody still waits. */
static void
hashing_work(rsloop_future *future, void *data)
{
    hashing *self = data;
    unsigned char *block = malloc(BLOCK_BYTES);
    FILE *file = fopen(self->path, "rb");
    size_t count;

    if (block == NULL || file == NULL) {
        /* OSError, of the subclass that errno asks for. */
        (void)rsloop_future_fail(future, errno, NULL);
        goto done;
    }
    self->hash = 14695981039346656037u;
    while (rsloop_future_status(future) == RSLOOP_OK
           && (count = fread(block, 1, BLOCK_BYTES, file)) > 0) {
        for (size_t i = 0; i < count; i++) {
            self->hash = (self->hash ^ block[i]) * 1099511628211u;
        }
    }
    if (ferror(file)) {
        (void)rsloop_future_fail(future, EIO, NULL);
    }

done:
    if (file != NULL) {
        fclose(file);
    }
    free(block);
}

static PyObject *
hashing_convert(void *data)
{
    return PyLong_FromUnsignedLongLong(((hashing *)data)->hash);
}

static const rsloop_future_ops hashing_ops = {
    .convert = hashing_convert,
    .free = free,
    .work = hashing_work,
};

PyObject *
example_hash_file(PyObject *module, PyObject *path)
{
    PyObject *bytes, *awaitable;
    hashing *self;
    size_t size;

    (void)module;
    if (!PyUnicode_FSConverter(path, &bytes)) {
        return NULL;
    }
    size = (size_t)PyBytes_GET_SIZE(bytes) + 1;
    self = malloc(sizeof(*self) + size);
    if (self == NULL) {
        Py_DECREF(bytes);
        return PyErr_NoMemory();
    }
    memcpy(self->path, PyBytes_AS_STRING(bytes), size);
    Py_DECREF(bytes);
    awaitable = rsloop_blocking_into_py(example_api, &hashing_ops, self);
    if (awaitable == NULL) {
        free(self); /* it was not taken */
    }
    return awaitable;
}
