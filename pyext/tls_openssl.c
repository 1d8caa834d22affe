/* SPDX-License-Identifier: Apache-2.0 */
/* tls_openssl.c - the SSL inside an ssl.SSLObject.
 *
 * CPython offers no way to it. _SSLContext begins with its SSL_CTX and
 * _SSLSocket with a weak reference and its SSL, in CPython 3.10 to 3.15;
 * _tls.py has this tried before it is relied on, and each connection's SSL
 * names its context and its _SSLSocket. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "errors.h"
#include "tls/openssl_engine.h"
#include "tls_engine.h"

/* What _ssl keeps in them, as far as we look. */
typedef struct context_layout {
    PyObject_HEAD
    SSL_CTX *ctx;
} context_layout;

typedef struct socket_layout {
    PyObject_HEAD
    PyObject *socket;
    SSL *ssl;
} socket_layout;

enum { APP_DATA = 0 }; /* SSL_get_app_data() is SSL_get_ex_data() of 0 */

/* --- The library, once a process --- */

static pthread_mutex_t api_lock = PTHREAD_MUTEX_INITIALIZER;
static rsl_openssl_api api; /* [K] once api_handle is set */
static void *api_handle;

/* RSL_OK, or RSL_UNSUPPORTED with *missing. */
static rsl_status
api_open_locked(const char *path, unsigned long version, const char **missing)
{
    void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    rsl_status status = RSL_UNSUPPORTED;

    *missing = "its file";
    if (handle == NULL) {
        return RSL_UNSUPPORTED;
    }
    if (api_handle == NULL) {
        status = rsl_openssl_api_open(&api, handle, missing);
        if (status == RSL_OK && api.OpenSSL_version_num() != version) {
            rsl_openssl_api_close(&api);
            *missing = "the version that ssl has";
            status = RSL_UNSUPPORTED;
        }
        if (status == RSL_OK) {
            api_handle = handle; /* stays open, as _ssl does */
            return RSL_OK;
        }
    } else if (api_handle == handle) { /* another interpreter's */
        status = RSL_OK;
    } else {
        *missing = "the same library";
    }
    dlclose(handle);
    return status;
}

PyDoc_STRVAR(openssl_open_doc,
"_tls_openssl_open($module, path, version, /)\n--\n\n"
"Find the libssl behind the loaded library path (_ssl's file), whose version\n"
"ssl says. None, or the name of what is missing.");

static PyObject *
openssl_open(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *path;
    unsigned long version;
    const char *missing;
    if (!PyArg_ParseTuple(args, "O&k:_tls_openssl_open", PyUnicode_FSConverter,
                          &path, &version)) {
        return NULL;
    }
    pthread_mutex_lock(&api_lock);
    rsl_status status =
        api_open_locked(PyBytes_AS_STRING(path), version, &missing);
    pthread_mutex_unlock(&api_lock);
    Py_DECREF(path);
    if (status == RSL_NOMEM) {
        return PyErr_NoMemory();
    }
    if (status == RSL_OK) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(missing);
}

/* --- Objects of _ssl --- */

static bool
is_a(PyObject *object, const char *name)
{
    for (PyTypeObject *type = Py_TYPE(object); type != NULL;
         type = type->tp_base) {
        if (strcmp(type->tp_name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int
need_types(PyObject *context, PyObject *raw)
{
    if (api_handle != NULL && is_a(context, "_ssl._SSLContext")
        && is_a(raw, "_ssl._SSLSocket")) {
        return 0;
    }
    PyErr_SetString(PyExc_TypeError,
                    "an SSLContext and an _SSLSocket were expected");
    return -1;
}

/* Whether so many bytes can be read at `address`: the kernel says so without
 * a signal. */
static bool
is_readable(const void *address, size_t len)
{
    int ends[2];
    bool readable;

    if ((uintptr_t)address % sizeof(void *) != 0
        || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return false;
    }
    readable = write(ends[1], address, len) == (ssize_t)len;
    close(ends[0]);
    close(ends[1]);
    return readable;
}

static bool
belongs(PyObject *context, PyObject *raw)
{
    const SSL *ssl = ((socket_layout *)raw)->ssl;

    return api.SSL_get_SSL_CTX(ssl) == ((context_layout *)context)->ctx
           && api.SSL_get_ex_data(ssl, APP_DATA) == raw;
}

/* ssl.VerifyMode for OpenSSL's flags. */
static int
verify_mode(int flags)
{
    enum { VERIFY_PEER = 1, VERIFY_FAIL_IF_NO_PEER_CERT = 2 };

    return (flags & VERIFY_PEER ? 1 : 0)
           + (flags & VERIFY_FAIL_IF_NO_PEER_CERT ? 1 : 0);
}

PyDoc_STRVAR(openssl_differs_doc,
"_tls_openssl_differs($module, context, raw, options, verify_mode,\n"
"                     num_tickets, /)\n--\n\n"
"Whether what lies where CPython should have its SSL_CTX and SSL is something\n"
"else: the name of what differs, or None.");

static PyObject *
openssl_differs(PyObject *Py_UNUSED(module), PyObject *args)
{
    enum { LOOK = 64 };
    PyObject *context, *raw;
    unsigned long long options, tickets;
    int mode;
    const char *differs = NULL;
    if (!PyArg_ParseTuple(args, "OOKiK:_tls_openssl_differs", &context, &raw,
                          &options, &mode, &tickets)
        || need_types(context, raw) < 0) {
        return NULL;
    }
    const SSL_CTX *ctx = ((context_layout *)context)->ctx;
    const SSL *ssl = ((socket_layout *)raw)->ssl;
    if (!is_readable(ctx, LOOK) || !is_readable(ssl, LOOK)) {
        differs = "pointers";
    } else if (!belongs(context, raw)) {
        differs = "the SSL's context";
    } else if ((uint32_t)api.SSL_CTX_get_options(ctx) != (uint32_t)options) {
        differs = "options";
    } else if (verify_mode(api.SSL_CTX_get_verify_mode(ctx)) != mode) {
        differs = "verify_mode";
    } else if (api.SSL_CTX_get_num_tickets(ctx) != tickets) {
        differs = "num_tickets";
    }
    if (differs == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(differs);
}

PyDoc_STRVAR(openssl_engine_doc,
"_tls_openssl_engine($module, context, ssl_object, raw, server_hostname,\n"
"                    reason, needs_gil, /)\n--\n\n"
"A TLSEngine over the SSL of raw, the _SSLSocket of ssl_object, or None when\n"
"it is not of this context. _tls_openssl_differs() has been asked before.");

static PyObject *
openssl_engine(PyObject *module, PyObject *args)
{
    pyrsl_tls_objects objects;
    PyObject *raw;
    rsl_tls *tls;
    int needs_gil;
    if (!PyArg_ParseTuple(args, "OOOOOp:_tls_openssl_engine", &objects.context,
                          &objects.ssl_object, &raw, &objects.server_hostname,
                          &objects.reason, &needs_gil)
        || need_types(objects.context, raw) < 0) {
        return NULL;
    }
    objects.needs_gil = needs_gil != 0;
    objects.config = NULL;
    if (!belongs(objects.context, raw)) {
        Py_RETURN_NONE;
    }
    SSL *ssl = ((socket_layout *)raw)->ssl;
    objects.server_side = api.SSL_is_server(ssl) != 0;
    rsl_status status = rsl_openssl_tls_new(&api, ssl, &tls);
    if (status != RSL_OK) {
        return pyrsl_raise(status, NULL);
    }
    return (PyObject *)pyrsl_tls_engine_new(PyModule_GetState(module),
                                            RSL_STAT_OPENSSL, tls, &objects);
}

/* --- Fields that have no getter --- */

static PyTypeObject *
context_base(PyObject *context)
{
    PyTypeObject *type = Py_TYPE(context);
    while (type != NULL && strcmp(type->tp_name, "_ssl._SSLContext") != 0) {
        type = type->tp_base;
    }
    if (type == NULL) {
        PyErr_SetString(PyExc_TypeError, "an SSLContext was expected");
    }
    return type;
}

PyDoc_STRVAR(context_word_doc,
"_tls_context_word($module, context, value, /)\n--\n\n"
"Where in the _SSLContext a reference to value is kept; -1: nowhere.");

static PyObject *
context_word(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *context, *value;
    if (!PyArg_ParseTuple(args, "OO:_tls_context_word", &context, &value)) {
        return NULL;
    }
    PyTypeObject *base = context_base(context);
    if (base == NULL) {
        return NULL;
    }
    for (Py_ssize_t at = (Py_ssize_t)sizeof(PyObject);
         at + (Py_ssize_t)sizeof value <= base->tp_basicsize;
         at += (Py_ssize_t)sizeof value) {
        if (memcmp((char *)context + at, &value, sizeof value) == 0) {
            return PyLong_FromSsize_t(at);
        }
    }
    return PyLong_FromLong(-1);
}

PyDoc_STRVAR(context_word_set_doc,
"_tls_context_word_set($module, context, offset, /)\n--\n\n"
"Whether the word there, which _tls_context_word() has found, is not NULL.");

static PyObject *
context_word_set(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *context;
    Py_ssize_t at;
    void *word;
    if (!PyArg_ParseTuple(args, "On:_tls_context_word_set", &context, &at)) {
        return NULL;
    }
    PyTypeObject *base = context_base(context);
    if (base == NULL) {
        return NULL;
    }
    if (at < (Py_ssize_t)sizeof(PyObject)
        || at > base->tp_basicsize - (Py_ssize_t)sizeof word) {
        PyErr_SetString(PyExc_ValueError, "no such offset");
        return NULL;
    }
    memcpy(&word, (char *)context + at, sizeof word);
    return PyBool_FromLong(word != NULL);
}

PyDoc_STRVAR(main_interpreter_doc,
"_tls_main_interpreter($module, /)\n--\n\n"
"Whether this is the interpreter that PyGILState_Ensure() knows.");

static PyObject *
main_interpreter(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(PyInterpreterState_Get()
                           == PyInterpreterState_Main());
}

PyMethodDef pyrsl_tls_openssl_functions[] = {
    {"_tls_main_interpreter", main_interpreter, METH_NOARGS,
     main_interpreter_doc},
    {"_tls_openssl_open", openssl_open, METH_VARARGS, openssl_open_doc},
    {"_tls_openssl_differs", openssl_differs, METH_VARARGS,
     openssl_differs_doc},
    {"_tls_openssl_engine", openssl_engine, METH_VARARGS, openssl_engine_doc},
    {"_tls_context_word", context_word, METH_VARARGS, context_word_doc},
    {"_tls_context_word_set", context_word_set, METH_VARARGS,
     context_word_set_doc},
    {NULL, NULL, 0, NULL},
};
