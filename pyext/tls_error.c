/* SPDX-License-Identifier: Apache-2.0 */
/* tls_error.c - an engine's error as an exception of the ssl module. */
#include "tls_engine.h"

/* ssl.SSLErrorNumber */
enum {
    ERRNO_SSL = 1,
    ERRNO_ZERO_RETURN = 6,
    ERRNO_EOF = 8,
};

/* <openssl/x509_vfy.h> */
enum {
    CODE_HOSTNAME_MISMATCH = 62,
    CODE_IP_ADDRESS_MISMATCH = 64,
};

enum { REASON_MAX = 128 };

typedef struct error_form {
    const char *type; /* in ssl */
    int number;
    const char *text; /* instead of the library's, or NULL */
} error_form;

static error_form
error_form_of(const rsl_tls_error *error)
{
    switch ((rsl_tls_error_kind)error->kind) {
    case RSL_TLS_ERR_VERIFY:
        return (error_form){"SSLCertVerificationError", ERRNO_SSL, NULL};
    case RSL_TLS_ERR_EOF:
        if (error->library != NULL && error->text == NULL) {
            return (error_form){"SSLZeroReturnError", ERRNO_ZERO_RETURN,
                                "TLS/SSL connection has been closed (EOF)"};
        }
        return (error_form){"SSLEOFError", ERRNO_EOF,
                            "EOF occurred in violation of protocol"};
    case RSL_TLS_ERR_NONE:
    case RSL_TLS_ERR_SSL:
    case RSL_TLS_ERR_NOMEM:
        break;
    }
    return (error_form){
        "SSLError", ERRNO_SSL,
        error->text == NULL ? "A failure in the SSL library occurred" : NULL};
}

static PyObject *
text_or_none(const char *text)
{
    return text == NULL ? Py_NewRef(Py_None) : PyUnicode_FromString(text);
}

/* ssl.SSLCertVerificationError.verify_message */
static PyObject *
verify_message(const rsl_tls_error *error, const TLSEngineObject *engine)
{
    switch (error->verify_code) {
    case CODE_HOSTNAME_MISMATCH:
        return PyUnicode_FromFormat(
            "Hostname mismatch, certificate is not valid for '%S'.",
            engine->server_hostname);
    case CODE_IP_ADDRESS_MISMATCH:
        return PyUnicode_FromFormat(
            "IP address mismatch, certificate is not valid for '%S'.",
            engine->server_hostname);
    default: /* open-ended: OpenSSL's codes */
        return text_or_none(error->verify_message);
    }
}

/* "[SSL: REASON] text: verify message (_ssl.c:0)"; users match the form. */
static PyObject *
error_message(const char *text, PyObject *library, PyObject *reason,
              PyObject *verify)
{
    if (library == Py_None) {
        return PyUnicode_FromFormat("%s (_ssl.c:0)", text);
    }
    if (reason == Py_None) {
        return PyUnicode_FromFormat("[%S] %s (_ssl.c:0)", library, text);
    }
    if (verify == Py_None) {
        return PyUnicode_FromFormat("[%S: %S] %s (_ssl.c:0)", library, reason,
                                    text);
    }
    return PyUnicode_FromFormat("[%S: %S] %s: %S (_ssl.c:0)", library, reason,
                                text, verify);
}

static PyObject *
error_instance(const error_form *form, PyObject *message)
{
    PyObject *module = PyImport_ImportModule("ssl");
    PyObject *exc = NULL;
    if (module != NULL) {
        PyObject *type = PyObject_GetAttrString(module, form->type);
        if (type != NULL) {
            exc = PyObject_CallFunction(type, "iO", form->number, message);
            Py_DECREF(type);
        }
        Py_DECREF(module);
    }
    return exc;
}

static int
error_set_attributes(PyObject *exc, const rsl_tls_error *error,
                     PyObject *library, PyObject *reason, PyObject *verify)
{
    if (PyObject_SetAttrString(exc, "library", library) < 0
        || PyObject_SetAttrString(exc, "reason", reason) < 0) {
        return -1;
    }
    if (error->kind != RSL_TLS_ERR_VERIFY) {
        return 0;
    }
    PyObject *code = PyLong_FromLong(error->verify_code);
    int status =
        code == NULL || PyObject_SetAttrString(exc, "verify_code", code) < 0
                || PyObject_SetAttrString(exc, "verify_message", verify) < 0
            ? -1
            : 0;
    Py_XDECREF(code);
    return status;
}

PyObject *
pyrsl_tls_exception(module_state *Py_UNUSED(st), rsl_tls *tls)
{
    const rsl_tls_error *error = rsl_tls_last_error(tls);
    if (error->kind == RSL_TLS_ERR_NOMEM) {
        return PyObject_CallNoArgs(PyExc_MemoryError);
    }
    error_form form = error_form_of(error);
    const char *text = form.text == NULL ? error->text : form.text;
    char name[REASON_MAX];
    rsl_tls_error_reason(error, name, sizeof name);
    PyObject *reason = text_or_none(error->text == NULL ? NULL : name);
    PyObject *library =
        text_or_none(error->text == NULL ? NULL : error->library);
    PyObject *verify = error->kind == RSL_TLS_ERR_VERIFY
                           ? verify_message(error, rsl_tls_owner(tls))
                           : Py_NewRef(Py_None);
    PyObject *message = NULL, *exc = NULL;
    if (reason != NULL && library != NULL && verify != NULL) {
        message = error_message(text, library, reason, verify);
    }
    if (message != NULL) {
        exc = error_instance(&form, message);
    }
    if (exc != NULL
        && error_set_attributes(exc, error, library, reason, verify) < 0) {
        Py_CLEAR(exc);
    }
    Py_XDECREF(message);
    Py_XDECREF(verify);
    Py_XDECREF(library);
    Py_XDECREF(reason);
    return exc;
}
