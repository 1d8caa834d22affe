/* SPDX-License-Identifier: Apache-2.0 */
/* native_future_type.c - NativeFuture: an asyncio.Future that knows its native
 * side, and tells it of cancel(). Everything else is asyncio's. */
#include "handle.h"
#include "native.h"

/* Behind what asyncio.Future has, whose size is only known at run time. */
static native_handle **
type_native(const module_state *st, PyObject *object)
{
    return (native_handle **)(void *)((char *)object
                                      + st->native_future_offset);
}

PyObject *
pyrsl_native_future_object(LoopObject *loop, native_handle *native)
{
    module_state *st = loop->st;
    PyObject *stack[] = {(PyObject *)loop};
    PyObject *object = PyObject_Vectorcall((PyObject *)st->NativeFutureType,
                                           stack, 0, st->kwnames_loop);
    if (object != NULL) {
        *type_native(st, object) = native;
    }
    return object;
}

void
pyrsl_native_future_detach(const module_state *st, PyObject *object)
{
    Py_BEGIN_CRITICAL_SECTION(object);
    *type_native(st, object) = NULL;
    Py_END_CRITICAL_SECTION();
}

PyDoc_STRVAR(type_cancel_doc,
"cancel($self, /, msg=None)\n--\n\n"
"Cancel the future and tell the native code that works for it.\n\n"
"False if it is done already (asyncio.Future.cancel).");

static PyObject *
type_cancel(PyObject *self, PyTypeObject *defining, PyObject *const *args,
            Py_ssize_t nargs, PyObject *kwnames)
{
    module_state *st = PyType_GetModuleState(defining);
    if (st == NULL) {
        return NULL;
    }
    Py_ssize_t total =
        nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    if (total > 1) {
        PyErr_SetString(PyExc_TypeError, "cancel() takes at most 1 argument");
        return NULL;
    }
    PyObject *stack[] = {self, total == 1 ? args[0] : NULL};
    PyObject *result = PyObject_Vectorcall(st->future_cancel, stack,
                                           (size_t)nargs + 1, kwnames);
    if (result == Py_True) {
        native_handle *native;
        Py_BEGIN_CRITICAL_SECTION(self);
        native = *type_native(st, self);
        if (native != NULL) {
            pyrsl_native_ref(native);
        }
        Py_END_CRITICAL_SECTION();
        if (native != NULL) {
            pyrsl_native_future_cancelled(native);
            pyrsl_native_unref(native);
        }
    }
    return result;
}

static PyMethodDef type_methods[] = {
    {"cancel", (PyCFunction)(void (*)(void))type_cancel,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, type_cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "A Future that native code completes (rsloop_c.h)."},
    {Py_tp_methods, type_methods},
    {0, NULL},
};

int
pyrsl_native_future_type(PyObject *module, module_state *st)
{
    Py_ssize_t size = ((PyTypeObject *)st->Future)->tp_basicsize;
    Py_ssize_t align = (Py_ssize_t)sizeof(void *);
    PyType_Spec spec = {
        .name = "rsloop_c._core.NativeFuture",
        .flags = Py_TPFLAGS_DEFAULT, /* the collector's part is inherited */
        .slots = type_slots,
    };
    st->native_future_offset = (size + align - 1) / align * align;
    spec.basicsize = (int)(st->native_future_offset + align);
    st->NativeFutureType = pyrsl_type_on(module, &spec, st->Future);
    st->future_cancel = PyObject_GetAttrString(st->Future, "cancel");
    return st->NativeFutureType == NULL || st->future_cancel == NULL ? -1 : 0;
}
