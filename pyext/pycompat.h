/* SPDX-License-Identifier: Apache-2.0 */
/* pycompat.h - the only place that knows CPython's versions in C.
 *
 * Role:    gives 3.10 to 3.15 one vocabulary.
 * Thread:  macros only.
 * Memory:  none. */
#ifndef PYRSL_PYCOMPAT_H
#define PYRSL_PYCOMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030A0000
#error "rsloop_c needs CPython 3.10 or newer"
#endif

/* Critical sections exist from 3.13 on and only mean something on
 * free-threaded builds. */
#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(op) {
#define Py_END_CRITICAL_SECTION()     }
#endif

/* TSan knows nothing of what CPython itself, uninstrumented, synchronizes. */
#if defined(Py_GIL_DISABLED) && defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#undef Py_BEGIN_CRITICAL_SECTION
#undef Py_END_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(op)                          \
    {                                                          \
        PyObject *pyrsl_object = (PyObject *)(op);             \
        PyCriticalSection pyrsl_section;                       \
        PyCriticalSection_Begin(&pyrsl_section, pyrsl_object); \
        __tsan_acquire(pyrsl_object);
#define Py_END_CRITICAL_SECTION()          \
    __tsan_release(pyrsl_object);          \
    PyCriticalSection_End(&pyrsl_section); \
    }
#endif

/* Py_T_OBJECT_EX and friends were named in 3.12. */
#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_BOOL      T_BOOL
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_PYSSIZET  T_PYSSIZET
#define Py_READONLY    READONLY
#endif

#if PY_VERSION_HEX < 0x030D0000
/* 3.13's look-up: 1 and a strong reference, 0 and NULL, or -1. */
static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **out)
{
    *out = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *out != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}
#endif

#if PY_VERSION_HEX < 0x030C0000
/* 3.12's single-object exception state, over the triple of before. */
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc,
                  PyException_GetTraceback(exc));
}
#endif

#endif
