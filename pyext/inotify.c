/* SPDX-License-Identifier: Apache-2.0 */
/* inotify.c - thin functions over inotify(7). */
#include "inotify.h"

#include <sys/inotify.h>

PyDoc_STRVAR(inotify_init_doc,
"_inotify_init($module, /)\n--\n\n"
"A new inotify descriptor, non-blocking and not inherited. Raises OSError.");

static PyObject *
inotify_init_(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return fd < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(fd);
}

PyDoc_STRVAR(inotify_add_watch_doc,
"_inotify_add_watch($module, fd, path, mask, /)\n--\n\n"
"Watch a path; its watch descriptor. Raises OSError with the path.");

static PyObject *
inotify_add_watch_(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    unsigned int mask;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "iO&I:_inotify_add_watch", &fd,
                          PyUnicode_FSConverter, &path, &mask)) {
        return NULL;
    }
    int wd;
    Py_BEGIN_ALLOW_THREADS
    wd = inotify_add_watch(fd, PyBytes_AS_STRING(path), mask);
    Py_END_ALLOW_THREADS
    PyObject *result = wd < 0 ? PyErr_SetFromErrnoWithFilenameObject(
                                    PyExc_OSError, PyTuple_GET_ITEM(args, 1))
                              : PyLong_FromLong(wd);
    Py_DECREF(path);
    return result;
}

PyDoc_STRVAR(inotify_rm_watch_doc,
"_inotify_rm_watch($module, fd, wd, /)\n--\n\n"
"End a watch. Raises OSError when there is none (any more).");

static PyObject *
inotify_rm_watch_(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    int wd;
    if (!PyArg_ParseTuple(args, "ii:_inotify_rm_watch", &fd, &wd)) {
        return NULL;
    }
    if (inotify_rm_watch(fd, wd) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_inotify_functions[] = {
    {"_inotify_init", inotify_init_, METH_NOARGS, inotify_init_doc},
    {"_inotify_add_watch", inotify_add_watch_, METH_VARARGS,
     inotify_add_watch_doc},
    {"_inotify_rm_watch", inotify_rm_watch_, METH_VARARGS,
     inotify_rm_watch_doc},
    {NULL, NULL, 0, NULL},
};
