/* SPDX-License-Identifier: Apache-2.0 */
/* native_probe.h - shared by the files of native_probe. */
#ifndef NATIVE_PROBE_H
#define NATIVE_PROBE_H

#include <Python.h>
#include <rsloop_c.h>

extern const rsloop_api *probe_api;
extern PyMethodDef probe_more[];   /* of native_probe_calls.c */
extern PyMethodDef probe_storms[]; /* of native_probe_storm.c */

/* run(arg) without the GIL, on a thread of its own if `native`. */
int probe_without_gil(int native, int (*run)(void *arg), void *arg);

PyObject *probe_status(int status);

#endif
