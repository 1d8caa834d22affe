/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_engine.h"

#include <stddef.h>

TLSEngineObject *
pyrsl_tls_engine_new(module_state *st, rsl_stat_engine kind, rsl_tls *tls,
                     const pyrsl_tls_objects *objects)
{
    TLSEngineObject *self = PyObject_GC_New(TLSEngineObject, st->TLSEngineType);
    if (self == NULL) {
        rsl_tls_free(tls);
        return NULL;
    }
    self->tls = tls;
    self->kind = kind;
    self->ssl_object = Py_NewRef(objects->ssl_object);
    self->context = Py_NewRef(objects->context);
    self->server_hostname = Py_NewRef(objects->server_hostname);
    self->reason = Py_NewRef(objects->reason);
    self->config = Py_XNewRef(objects->config);
    self->sessions = NULL;
    self->session_key = NULL;
    self->session_peer = NULL;
    self->needs_gil = objects->needs_gil;
    self->server_side = objects->server_side;
    rsl_tls_set_owner(tls, self);
    PyObject_GC_Track(self);
    return self;
}

static int
engine_traverse(TLSEngineObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->ssl_object);
    Py_VISIT(self->context);
    Py_VISIT(self->server_hostname);
    Py_VISIT(self->reason);
    Py_VISIT(self->config);
    return 0;
}

static void
engine_dealloc(TLSEngineObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    rsl_tls_free(self->tls); /* before what it uses */
    Py_XDECREF(self->ssl_object);
    Py_XDECREF(self->context);
    Py_XDECREF(self->server_hostname);
    Py_XDECREF(self->reason);
    Py_XDECREF(self->config);
    Py_XDECREF(self->sessions);
    Py_XDECREF(self->session_key);
    Py_XDECREF(self->session_peer);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* --- The type --- */

static PyObject *
engine_get_name(TLSEngineObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(rsl_stat_engine_name(self->kind));
}

static PyGetSetDef engine_getset[] = {
    {"name", (getter)engine_get_name, NULL, "Which engine it is.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef engine_members[] = {
    {"ssl_object", Py_T_OBJECT_EX, offsetof(TLSEngineObject, ssl_object),
     Py_READONLY, NULL},
    {"context", Py_T_OBJECT_EX, offsetof(TLSEngineObject, context), Py_READONLY,
     NULL},
    {"server_hostname", Py_T_OBJECT_EX,
     offsetof(TLSEngineObject, server_hostname), Py_READONLY, NULL},
    {"reason", Py_T_OBJECT_EX, offsetof(TLSEngineObject, reason), Py_READONLY,
     NULL},
    {"needs_gil", Py_T_BOOL, offsetof(TLSEngineObject, needs_gil), Py_READONLY,
     NULL},
    {"server_side", Py_T_BOOL, offsetof(TLSEngineObject, server_side),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "A TLS engine that is ready for its handshake."},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_methods, pyrsl_tls_engine_methods},
    {Py_tp_getset, engine_getset},
    {Py_tp_members, engine_members},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    .name = "rsloop_c._core.TLSEngine",
    .basicsize = sizeof(TLSEngineObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = engine_slots,
};

int
pyrsl_tls_types(PyObject *module, module_state *st)
{
    st->TLSEngineType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &engine_spec, NULL);
    st->TLSSessionsType = pyrsl_tls_sessions_type(module);
    if (st->TLSEngineType == NULL || st->TLSSessionsType == NULL
        || PyModule_AddType(module, st->TLSEngineType) < 0
        || PyModule_AddType(module, st->TLSSessionsType) < 0
        || PyModule_AddFunctions(module, pyrsl_tls_openssl_functions) < 0) {
        return -1;
    }
#ifdef RSL_HAVE_MBEDTLS
    st->TLSConfigType = pyrsl_tls_config_type(module);
    if (st->TLSConfigType == NULL
        || PyModule_AddType(module, st->TLSConfigType) < 0
        || PyModule_AddFunctions(module, pyrsl_tls_mbedtls_functions) < 0) {
        return -1;
    }
#endif
    return 0;
}
