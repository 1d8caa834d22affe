/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the example share. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <rsloop_c.h>

/* The same table for all interpreters and all threads. */
extern const rsloop_api *example_api;

PyObject *example_sleep_and_tag(PyObject *module, PyObject *args);
PyObject *example_count_down(PyObject *module, PyObject *args);
PyObject *example_hash_file(PyObject *module, PyObject *path);
PyObject *example_ask(PyObject *module, PyObject *function);

#endif
