/* SPDX-License-Identifier: Apache-2.0 */
/* args.h - METH_FASTCALL | METH_KEYWORDS without a clinic.
 *
 * Role:    binds positional and keyword arguments to an array by name.
 * Thread:  any, GIL held.
 * Memory:  results are borrowed from the caller's arguments. */
#ifndef PYRSL_ARGS_H
#define PYRSL_ARGS_H

#include "pycompat.h"

typedef struct pyrsl_params {
    const char *function;     /* for messages */
    const char *const *names; /* NULL-terminated */
    int positional;           /* how many may be given by position */
    int required;             /* how many, from the first, must be given */
} pyrsl_params;

/* What a METH_FASTCALL | METH_KEYWORDS method is given, borrowed. */
typedef struct pyrsl_fastcall {
    PyObject *const *args;
    Py_ssize_t nargs;
    PyObject *kwnames;
} pyrsl_fastcall;

/* Fill out[i] for names[i], NULL where absent. 0, or -1 with TypeError in the
 * interpreter's own words. */
int pyrsl_args_bind(const pyrsl_params *params, PyObject *const *args,
                    Py_ssize_t nargs, PyObject *kwnames, PyObject **out);

/* The one argument of f(self, name), given by position as a rule. Borrowed;
 * NULL with TypeError. */
static inline PyObject *
pyrsl_args_one(const pyrsl_params *params, PyObject *const *args,
               Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[1];
    if (nargs == 1 && kwnames == NULL) {
        return args[0];
    }
    return pyrsl_args_bind(params, args, nargs, kwnames, bound) < 0 ? NULL
                                                                    : bound[0];
}

enum { PYRSL_LEADING_MAX = 2 };

/* A call of the form f(first, second, *args, context=None), of which the
 * leading arguments may come by keyword when no others are given. */
typedef struct pyrsl_call {
    PyObject *context_name; /* given: "context", interned */
    PyObject *const *args;  /* leading ones first, borrowed */
    Py_ssize_t nargs;
    PyObject *context; /* borrowed, or NULL */
    PyObject *store[PYRSL_LEADING_MAX];
} pyrsl_call;

/* pyrsl_args_call() of any arguments. */
int pyrsl_args_call_any(const pyrsl_params *params, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames, pyrsl_call *out);

/* Bind to `params` (positional is not looked at; required leading ones).
 * 0, or -1 with TypeError. */
static inline int
pyrsl_args_call(const pyrsl_params *params, PyObject *const *args,
                Py_ssize_t nargs, PyObject *kwnames, pyrsl_call *out)
{
    out->args = args;
    out->nargs = nargs;
    out->context = NULL;
    if (nargs >= params->required) {
        if (kwnames == NULL) {
            return 0;
        }
        /* A task's wake-up; the name is interned on both sides. */
        if (PyTuple_GET_SIZE(kwnames) == 1
            && PyTuple_GET_ITEM(kwnames, 0) == out->context_name) {
            out->context = args[nargs] == Py_None ? NULL : args[nargs];
            return 0;
        }
    }
    return pyrsl_args_call_any(params, args, nargs, kwnames, out);
}

/* The descriptor that is the int `number`, which `object` gave. -1 with
 * ValueError in the words of the selectors module, or OverflowError. */
int pyrsl_args_fd(PyObject *object, PyObject *number);

/* sock.fileno(); -1 with what it raised or as pyrsl_args_fd() says. */
int pyrsl_args_socket_fd(PyObject *sock, PyObject *fileno_name);

#endif
