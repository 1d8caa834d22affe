/* SPDX-License-Identifier: Apache-2.0 */
/* tls_mbedtls.c - configs and engines of mbedTLS, from what _tls_mbedtls.py
 * has gathered of a context. */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "errors.h"
#include "tls/mbedtls_engine.h"
#include "tls_engine.h"

enum { ALPN_MAX = 64 };

/* Constant once made; engines hold a reference. */
typedef struct TLSConfigObject {
    PyObject_HEAD
    rsl_mbedtls_config *config;
    int keylog_fd; /* owned, or -1 */
    bool server;
} TLSConfigObject;

/* rsl_tls_keylog: one write, so that lines of several threads do not mix. */
static void
config_log(void *arg, const char *line)
{
    const TLSConfigObject *self = arg;
    struct iovec parts[] = {
        {(void *)(uintptr_t)line, strlen(line)},
        {(void *)(uintptr_t)"\n", 1},
    };
    ssize_t written = writev(self->keylog_fd, parts, 2);

    (void)written; /* nobody is there to be told */
}

static void
config_dealloc(TLSConfigObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    rsl_mbedtls_config_free(self->config);
    if (self->keylog_fd >= 0) {
        close(self->keylog_fd);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* What the arguments lend for as long as the config is made. */
typedef struct config_loans {
    Py_buffer certificate, key, ca, crl, ciphers;
    PyObject *alpn;
    const char *names[ALPN_MAX + 1];
} config_loans;

static rsl_tls_blob
loan_blob(const Py_buffer *loan)
{
    return (rsl_tls_blob){loan->buf, (size_t)loan->len};
}

static void
loans_release(config_loans *loans)
{
    PyBuffer_Release(&loans->certificate);
    PyBuffer_Release(&loans->key);
    PyBuffer_Release(&loans->ca);
    PyBuffer_Release(&loans->crl);
    PyBuffer_Release(&loans->ciphers);
}

static int
loans_names(config_loans *loans)
{
    Py_ssize_t count = PyTuple_GET_SIZE(loans->alpn);
    if (count > ALPN_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many protocols");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        loans->names[i] = PyBytes_AsString(PyTuple_GET_ITEM(loans->alpn, i));
        if (loans->names[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static int
config_parse(PyObject *args, PyObject *kwargs, rsl_tls_settings *settings,
             config_loans *loans, int *keylog_fd)
{
    static char *names[] = {
        "server",
        "check_hostname",
        "check_common_name",
        "check_crl",
        "verify",
        "version_min",
        "version_max",
        "certificate",
        "key",
        "ca",
        "crl",
        "password",
        "ciphers",
        "alpn",
        "tickets",
        "ticket_lifetime",
        "keylog_fd",
        NULL,
    };
    int server, hostname, common_name, crl, verify;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$ppppiHHy*y*y*y*zy*O!IIi:_tls_mbedtls_config", names,
            &server, &hostname, &common_name, &crl, &verify,
            &settings->version_min, &settings->version_max, &loans->certificate,
            &loans->key, &loans->ca, &loans->crl, &settings->password,
            &loans->ciphers, &PyTuple_Type, &loans->alpn, &settings->tickets,
            &settings->ticket_lifetime_s, keylog_fd)) {
        return -1;
    }
    if (loans_names(loans) < 0) {
        loans_release(loans);
        return -1;
    }
    settings->server = server;
    settings->check_hostname = hostname;
    settings->check_common_name = common_name;
    settings->check_crl = crl;
    settings->verify = (rsl_tls_verify)verify;
    settings->certificate = loan_blob(&loans->certificate);
    settings->key = loan_blob(&loans->key);
    settings->ca = loan_blob(&loans->ca);
    settings->crl = loan_blob(&loans->crl);
    settings->ciphers = loans->ciphers.len == 0 ? NULL : loans->ciphers.buf;
    settings->alpn = loans->names[0] == NULL ? NULL : loans->names;
    return 0;
}

PyDoc_STRVAR(mbedtls_config_doc,
"_tls_mbedtls_config($module, /, *, server, check_hostname,\n"
"                    check_common_name, check_crl, verify, version_min,\n"
"                    version_max, certificate, key, ca, crl, password,\n"
"                    ciphers, alpn, tickets, ticket_lifetime, keylog_fd)\n"
"--\n\n"
"A TLSConfig, or as a str why mbedTLS cannot serve this. Takes keylog_fd.");

static PyObject *
mbedtls_config(PyObject *module, PyObject *args, PyObject *kwargs)
{
    module_state *st = PyModule_GetState(module);
    rsl_tls_settings settings = {0};
    config_loans loans = {0};
    const char *why;
    int keylog_fd = -1;
    if (config_parse(args, kwargs, &settings, &loans, &keylog_fd) < 0) {
        return NULL;
    }
    TLSConfigObject *self =
        (TLSConfigObject *)st->TLSConfigType->tp_alloc(st->TLSConfigType, 0);
    if (self == NULL) {
        loans_release(&loans);
        if (keylog_fd >= 0) {
            close(keylog_fd);
        }
        return NULL;
    }
    self->keylog_fd = keylog_fd;
    self->server = settings.server;
    if (keylog_fd >= 0) {
        settings.keylog = config_log;
        settings.keylog_arg = self;
    }
    rsl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = rsl_mbedtls_config_new(&settings, &self->config, &why);
    Py_END_ALLOW_THREADS
    loans_release(&loans);
    if (status == RSL_OK) {
        return (PyObject *)self;
    }
    Py_DECREF(self);
    return status == RSL_UNSUPPORTED ? PyUnicode_FromString(why)
                                     : pyrsl_raise(status, NULL);
}

PyDoc_STRVAR(mbedtls_engine_doc,
"_tls_mbedtls_engine($module, config, context, server_hostname, name, reason,\n"
"                    /)\n--\n\n"
"A TLSEngine of a TLSConfig that asks for name (str or None), or None when\n"
"mbedTLS cannot.");

static PyObject *
mbedtls_engine(PyObject *module, PyObject *args)
{
    module_state *st = PyModule_GetState(module);
    pyrsl_tls_objects objects = {.ssl_object = Py_None};
    const char *name;
    rsl_tls *tls;
    if (!PyArg_ParseTuple(args, "O!OOzO:_tls_mbedtls_engine", st->TLSConfigType,
                          &objects.config, &objects.context,
                          &objects.server_hostname, &name, &objects.reason)) {
        return NULL;
    }
    const TLSConfigObject *config = (TLSConfigObject *)objects.config;
    objects.server_side = config->server;
    rsl_status status = rsl_mbedtls_tls_new(config->config, name, &tls);
    if (status == RSL_UNSUPPORTED) {
        Py_RETURN_NONE;
    }
    if (status != RSL_OK) {
        return pyrsl_raise(status, NULL);
    }
    return (PyObject *)pyrsl_tls_engine_new(st, RSL_STAT_MBEDTLS, tls,
                                            &objects);
}

PyDoc_STRVAR(mbedtls_knows_doc,
"_tls_mbedtls_knows($module, number, /)\n--\n\n"
"Whether mbedTLS has the cipher suite of this IANA number.");

static PyObject *
mbedtls_knows(PyObject *Py_UNUSED(module), PyObject *number)
{
    long value = PyLong_AsLong(number);
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyBool_FromLong(value > 0 && value <= UINT16_MAX
                           && rsl_mbedtls_knows_cipher((uint16_t)value));
}

PyMethodDef pyrsl_tls_mbedtls_functions[] = {
    {"_tls_mbedtls_config", (PyCFunction)(void (*)(void))mbedtls_config,
     METH_VARARGS | METH_KEYWORDS, mbedtls_config_doc},
    {"_tls_mbedtls_engine", mbedtls_engine, METH_VARARGS, mbedtls_engine_doc},
    {"_tls_mbedtls_knows", mbedtls_knows, METH_O, mbedtls_knows_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot config_slots[] = {
    {Py_tp_doc, "What connections of the mbedtls engine have in common."},
    {Py_tp_dealloc, config_dealloc},
    {0, NULL},
};

static PyType_Spec config_spec = {
    .name = "rsloop_c._core.TLSConfig",
    .basicsize = sizeof(TLSConfigObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = config_slots,
};

PyTypeObject *
pyrsl_tls_config_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &config_spec, NULL);
}
