/* SPDX-License-Identifier: Apache-2.0 */
#include "future.h"

int
pyrsl_ask(PyObject *object, PyObject *question)
{
    PyObject *answer = PyObject_CallMethodNoArgs(object, question);
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return truth;
}

int
pyrsl_future_wake(const module_state *st, PyObject *future, PyObject *unless,
                  PyObject *exc)
{
    int over = pyrsl_ask(future, unless);
    if (over != 0) {
        return over < 0 ? -1 : 0;
    }
    PyObject *result = PyObject_CallMethodOneArg(
        future, exc == NULL ? st->str_set_result : st->str_set_exception,
        exc == NULL ? Py_None : exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}
