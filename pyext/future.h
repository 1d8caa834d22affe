/* SPDX-License-Identifier: Apache-2.0 */
/* future.h - asking and answering futures, whoever made them.
 *
 * Role:    what several awaitables of the loop share.
 * Thread:  loop thread. Each call may run Python code.
 * Memory:  all arguments are borrowed. */
#ifndef PYRSL_FUTURE_H
#define PYRSL_FUTURE_H

#include "state.h"

/* The truth of object.question(): 1, 0, or -1 with an exception. */
int pyrsl_ask(PyObject *object, PyObject *question);

/* future.set_result(None) or, unless `exc` is NULL, future.set_exception(exc);
 * nothing when future.unless() is true. 0, or -1 with an exception. */
int pyrsl_future_wake(const module_state *st, PyObject *future,
                      PyObject *unless, PyObject *exc);

#endif
