/* SPDX-License-Identifier: Apache-2.0 */
/* errors.h - rsl_status becomes a Python exception here and nowhere else. */
#ifndef PYRSL_ERRORS_H
#define PYRSL_ERRORS_H

#include <stdbool.h>

#include <rsl/status.h>

#include "pycompat.h"

/* Whether the exception that is set ends run_forever(), as asyncio has it. */
static inline bool
pyrsl_exception_leaves_loop(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit)
           || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

/* Set the exception for a status that is not RSL_OK; NULL for convenience. */
PyObject *pyrsl_raise(rsl_status status, const rsl_err *err);

/* An OSError (or subclass) instance for `code`, a new reference. */
PyObject *pyrsl_os_error(int code);

#endif
