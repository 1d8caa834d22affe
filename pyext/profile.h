/* SPDX-License-Identifier: Apache-2.0 */
/* profile.h - names for the records of a profile (rsl/prof.h), and Python's way
 * to take one.
 *
 * Role:    an interpreter's profile is a table of what ran: code objects of
 *          functions and coroutines, types of protocols. A record has a number.
 * Thread:  any thread that has the interpreter.
 * Memory:  a capsule; whoever profiles a turn has a reference until its end. */
#ifndef PYRSL_PROFILE_H
#define PYRSL_PROFILE_H

#include <rsl/prof.h>

#include "state.h"

struct LoopObject;

/* The profile that this interpreter takes, a new reference; or NULL without an
 * exception. */
PyObject *pyrsl_profile_now(void *interpreter);

/* What stands for `callback`: its number. *kind becomes TASK for a task's step,
 * else CALL. Never fails: 0 means that there is no name. */
uint32_t pyrsl_profile_callback(PyObject *profile, PyObject *callback,
                                rsl_prof_kind *kind);

/* The number of any object that tells what runs. */
uint32_t pyrsl_profile_number(PyObject *profile, PyObject *object);

extern PyMethodDef pyrsl_profile_functions[];

#endif
