/* SPDX-License-Identifier: Apache-2.0 */
/* The module: it asks for rsloop_c's table when it is imported. */
#include "example.h"

const rsloop_api *example_api;

static int
module_exec(PyObject *module)
{
    (void)module;
    example_api = rsloop_import();
    return example_api == NULL ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"sleep_and_tag", example_sleep_and_tag, METH_VARARGS,
     "sleep_and_tag(label, seconds) - await a timer of the runtime thread"},
    {"count_down", example_count_down, METH_VARARGS,
     "count_down(steps) - await a state machine on the loop's thread"},
    {"hash_file", example_hash_file, METH_O,
     "hash_file(path) - await the FNV-1a hash of a file, made without the GIL"},
    {"ask", example_ask, METH_O,
     "ask(function) - a native thread awaits function(), and its result is "
     "awaited here"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, .m_name = "_example", .m_size = 0,
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__example(void)
{
    return PyModuleDef_Init(&module_def);
}
