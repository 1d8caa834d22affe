/* SPDX-License-Identifier: Apache-2.0 */
/* fast_read.h - what the read*() methods share.
 *
 * Role:    steps of calls (fast_call.h) whose owner is a reader.
 * Thread:  the loop's thread.
 * Memory:  results are new references. */
#ifndef PYRSL_FAST_READ_H
#define PYRSL_FAST_READ_H

#include "fast_streams.h"

static inline FastReader *
pyrsl_fast_reader_of(const FastCall *call)
{
    return (FastReader *)call->owner;
}

/* asyncio's _wait_for_data(name) */
fast_step pyrsl_fast_read_wait(FastCall *call, const char *name);

/* The `waited` of all kinds. */
void pyrsl_fast_read_waited(FastCall *call);

/* Raise what set_exception() was given. */
fast_step pyrsl_fast_read_raise(const FastReader *self);

/* Return b"". */
fast_step pyrsl_fast_read_nothing(PyObject **result);

/* Return the first `size` bytes, of so many at least. */
fast_step
pyrsl_fast_read_take(FastReader *self, size_t size, PyObject **result);

/* Raise IncompleteReadError(all there is, expected); None where that is -1. */
fast_step pyrsl_fast_read_incomplete(FastReader *self, Py_ssize_t expected);

/* fast_reader.c */
extern PyMethodDef pyrsl_fast_reader_methods[];

/* fast_until.c */
extern PyMethodDef pyrsl_fast_until_methods[];

#endif
