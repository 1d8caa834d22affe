/* SPDX-License-Identifier: Apache-2.0 */
/* contexts.h - the contexts that callbacks run in.
 *
 * Role:    call_soon() promises each callback a copy of the context that it is
 *          called in. What a context holds is an immutable map. As long as the
 *          current one holds the same map, callbacks share one snapshot of it,
 *          which nobody enters; each gets a copy of its own when it runs, or
 *          when somebody asks. So a hundred thousand pending callbacks are not
 *          a hundred thousand contexts for the garbage collector to look at.
 *          A callback that leaves its context as it was leaves it to the next,
 *          which need not enter it.
 * Thread:  any that holds the GIL. Free-threaded builds copy each time.
 * Memory:  pyrsl_contexts_clear() drops both; values live as long as they would
 *          with asyncio, or until the loop sleeps. */
#ifndef PYRSL_CONTEXTS_H
#define PYRSL_CONTEXTS_H

#include <stdbool.h>

#include "state.h"

typedef struct pyrsl_contexts {
    PyObject *snapshot; /* never entered, never shown; or NULL */
    PyObject *spare;    /* that a callback ran in, ours alone; or NULL */
    bool inside;        /* `spare` is entered */
} pyrsl_contexts;

/* At import: learn whether this Python's contexts are known well enough. -1
 * with an exception. */
int pyrsl_contexts_probe(module_state *st);

/* A copy of the current context, or with `*out_shared` a snapshot of it. A new
 * reference; NULL with MemoryError. */
PyObject *pyrsl_contexts_of_now(pyrsl_contexts *self, const module_state *st,
                                bool *out_shared);

/* Whether the current context holds exactly what `other` does, if that can be
 * told at all. */
bool pyrsl_contexts_is_now(const module_state *st, PyObject *other);

/* A context to run in that holds what `source`, which the caller keeps, does;
 * pyrsl_contexts_give() takes it back. NULL with MemoryError. */
PyObject *pyrsl_contexts_borrow(pyrsl_contexts *self, const module_state *st,
                                PyObject *source);

/* Takes back what pyrsl_contexts_borrow() gave. */
void pyrsl_contexts_give(pyrsl_contexts *self, PyObject *context);

void pyrsl_contexts_exit(pyrsl_contexts *self); /* see leave() */

/* Enter a context that holds what `*snapshot` does, or stay in it. Adopts the
 * snapshot; gives a new reference, or NULL with an exception. */
PyObject *pyrsl_contexts_enter(pyrsl_contexts *self, PyObject **snapshot);

/* The callback that ran in `context` has ended well. True: it is kept, and
 * stays entered for the next one; takes the reference. */
bool pyrsl_contexts_keep(pyrsl_contexts *self, PyObject *context);

/* Leave what is still entered: before anything but a callback that shares. */
static inline void
pyrsl_contexts_leave(pyrsl_contexts *self)
{
    if (self->inside) {
        pyrsl_contexts_exit(self);
    }
}

void pyrsl_contexts_clear(pyrsl_contexts *self);
int pyrsl_contexts_traverse(pyrsl_contexts *self, visitproc visit, void *arg);

#endif
