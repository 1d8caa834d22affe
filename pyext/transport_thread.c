/* SPDX-License-Identifier: Apache-2.0 */
/* transport_thread.c - what other threads call.
 *
 * asyncio's transports have no lock and mostly survive a call from another
 * thread, because the GIL orders it among the loop's own. Here the loop's
 * thread polls without the GIL and reads lists that such a call would change,
 * so the call moves to the loop's thread: it is made there, after what has been
 * posted before it. Without a GIL it is refused. */
#include "transport.h"

#ifdef Py_GIL_DISABLED
PyObject *
pyrsl_transport_hand_over(PyObject *Py_UNUSED(transport),
                          LoopObject *Py_UNUSED(loop),
                          const char *Py_UNUSED(name),
                          PyObject *const *Py_UNUSED(args),
                          Py_ssize_t Py_UNUSED(count))
{
    PyErr_SetString(PyExc_RuntimeError, PYRSL_WRONG_THREAD);
    return NULL;
}
#else
/* call_soon_threadsafe(transport.name, *args), None for arguments that were not
 * given. Nobody else keeps the loop alive: the call may end the transport. */
PyObject *
pyrsl_transport_hand_over(PyObject *transport, LoopObject *loop,
                          const char *name, PyObject *const *args,
                          Py_ssize_t count)
{
    enum { ARGS_MAX = 2 };
    PyObject *call[2 + ARGS_MAX];
    assert(count <= ARGS_MAX);
    call[0] = Py_NewRef(loop);
    call[1] = PyObject_GetAttrString(transport, name);
    PyObject *result = NULL;
    if (call[1] != NULL) {
        for (Py_ssize_t i = 0; i < count; i++) {
            call[2 + i] = args[i] == NULL ? Py_None : args[i];
        }
        result = PyObject_VectorcallMethod(loop->st->str_call_soon_threadsafe,
                                           call, (size_t)(2 + count), NULL);
        Py_DECREF(call[1]);
    }
    Py_DECREF(call[0]);
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    Py_RETURN_NONE;
}
#endif

/* What waits for the loop's thread must not change meanwhile. */
PyObject *
pyrsl_transport_hand_over_data(PyObject *transport, LoopObject *loop,
                               const char *name, PyObject *data, PyObject *addr)
{
    PyObject *copy =
        PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    if (copy == NULL) {
        return NULL;
    }
    PyObject *args[] = {copy, addr};
    PyObject *result = pyrsl_transport_hand_over(transport, loop, name, args,
                                                 addr == NULL ? 1 : 2);
    Py_DECREF(copy);
    return result;
}

PyObject *
pyrsl_transport_hand_over_end(PyObject *transport, LoopObject *loop,
                              const char *name)
{
    return pyrsl_loop_check_call(loop) < 0
               ? NULL
               : pyrsl_transport_hand_over(transport, loop, name, NULL, 0);
}
