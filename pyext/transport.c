/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <stdlib.h>

uint8_t *
pyrsl_transport_scratch(LoopObject *loop)
{
    if (loop->read_scratch == NULL) {
        loop->read_scratch = malloc(PYRSL_READ_MAX);
    }
    return loop->read_scratch;
}

int
pyrsl_context_leave(PyObject *context, int status)
{
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    if (PyContext_Exit(context) < 0) {
        status = -1;
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return status;
}

int
pyrsl_transport_call_soon(LoopObject *loop, PyObject *object, PyObject *name,
                          PyObject *args)
{
    PyObject *method = PyObject_GetAttr(object, name);
    if (method == NULL) {
        return -1;
    }
    int status = pyrsl_loop_call_soon(loop, method, args, NULL);
    Py_DECREF(method);
    return status;
}

int
pyrsl_transport_wake_waiter(LoopObject *loop, PyObject *waiter)
{
    if (waiter == NULL || waiter == Py_None) {
        return 0;
    }
    PyObject *args = PyTuple_Pack(2, waiter, Py_None);
    if (args == NULL) {
        return -1;
    }
    int status = pyrsl_loop_call_soon(
        loop, loop->st->set_result_unless_cancelled, args, NULL);
    Py_DECREF(args);
    return status;
}

int
pyrsl_transport_announce(LoopObject *loop, PyObject *transport,
                         PyObject *protocol, PyObject *start_name,
                         PyObject *waiter)
{
    module_state *st = loop->st;
    PyObject *args = PyTuple_Pack(1, transport);
    if (args == NULL) {
        return -1;
    }
    int status = pyrsl_transport_call_soon(loop, protocol,
                                           st->str_connection_made, args);
    Py_DECREF(args);
    if (status == 0 && start_name != NULL) {
        status = pyrsl_transport_call_soon(loop, transport, start_name,
                                           st->empty_tuple);
    }
    return status < 0 ? -1 : pyrsl_transport_wake_waiter(loop, waiter);
}

/* --- The end --- */

int
pyrsl_transport_schedule_lost(LoopObject *loop, PyObject *transport,
                              PyObject *exc)
{
    if (pyrsl_loop_check_call(loop) < 0) {
        return -1;
    }
    PyObject *args = PyTuple_Pack(1, exc == NULL ? Py_None : exc);
    if (args == NULL) {
        return -1;
    }
    int status = pyrsl_transport_call_soon(
        loop, transport, loop->st->str_call_connection_lost, args);
    Py_DECREF(args);
    return status;
}

bool
pyrsl_transport_may_end_again(void)
{
    return PyErr_ExceptionMatches(PyExc_MemoryError) != 0;
}

PyObject *
pyrsl_transport_tell_lost(const module_state *st, PyObject *protocol,
                          PyObject *exc)
{
    Py_INCREF(protocol);
    PyObject *result = PyObject_CallMethodOneArg(
        protocol, st->str_connection_lost, exc == NULL ? Py_None : exc);
    PyObject *raised = result == NULL ? PyErr_GetRaisedException() : NULL;
    Py_XDECREF(result);
    Py_DECREF(protocol);
    return raised;
}

void
pyrsl_transport_warn_unclosed(PyObject *transport)
{
    if (PyErr_ResourceWarning(transport, 1, "unclosed transport %R", transport)
        < 0) {
        PyErr_WriteUnraisable(transport);
    }
}

bool
pyrsl_transport_abandon_later(LoopObject *loop, PyObject *transport)
{
    if (pyrsl_loop_is_owner(loop)) {
        return false;
    }
    PyObject *method = PyObject_GetAttr(transport, loop->st->str_abandon);
    PyObject *result = NULL;
    if (method != NULL) {
        result = PyObject_CallMethodOneArg(
            (PyObject *)loop, loop->st->str_call_soon_threadsafe, method);
        Py_DECREF(method);
    }
    if (result == NULL) {
        PyErr_Clear(); /* the loop was closed: nobody is at work */
        return false;
    }
    Py_DECREF(result);
    return true;
}

void
pyrsl_transport_dealloc(PyObject *transport, PyObject *const *weakrefs)
{
    PyTypeObject *type = Py_TYPE(transport);
    if (PyObject_CallFinalizerFromDealloc(transport) < 0) {
        return;
    }
    PyObject_GC_UnTrack(transport);
    if (*weakrefs != NULL) { /* the finalizer may have made some */
        PyObject_ClearWeakRefs(transport);
    }
    (void)type->tp_clear(transport); /* always 0 */
    type->tp_free(transport);
    Py_DECREF(type);
}

int
pyrsl_transport_log(const LoopObject *loop, PyObject *transport,
                    PyObject *level, const char *format)
{
    if (loop == NULL || !loop->debug) {
        return 0;
    }
    PyObject *text = PyUnicode_FromString(format);
    if (text == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(loop->st->logger, level, text,
                                                  transport, NULL);
    Py_DECREF(text);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_type_add_methods(PyTypeObject *type, PyMethodDef *const *tables)
{
    for (size_t t = 0; tables[t] != NULL; t++) {
        for (PyMethodDef *def = tables[t]; def->ml_name != NULL; def++) {
            PyObject *method = PyDescr_NewMethod(type, def);
            if (method == NULL) {
                return -1;
            }
            int status =
                PyObject_SetAttrString((PyObject *)type, def->ml_name, method);
            Py_DECREF(method);
            if (status < 0) {
                return -1;
            }
        }
    }
    return 0;
}
