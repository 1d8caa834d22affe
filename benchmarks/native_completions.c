/* SPDX-License-Identifier: Apache-2.0 */
/* native_completions.c - awaitables that cost nothing but themselves: answered
 * by one native thread, or by the pool. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <rsloop_c.h>

enum { QUEUE_MAX = 4096 };

static const rsloop_api *api;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static rsloop_future *queue[QUEUE_MAX];
static size_t queued;

/* Takes all that there is, as a client of a database would. */
static void *
answer(void *unused)
{
    rsloop_future *mine[QUEUE_MAX];

    (void)unused;
    for (;;) {
        size_t count;

        pthread_mutex_lock(&lock);
        while (queued == 0) {
            pthread_cond_wait(&work, &lock);
        }
        count = queued;
        for (size_t i = 0; i < count; i++) {
            mine[i] = queue[i];
        }
        queued = 0;
        pthread_mutex_unlock(&lock);
        for (size_t i = 0; i < count; i++) {
            (void)rsloop_future_complete(mine[i]);
            rsloop_future_release(mine[i]);
        }
    }
    return NULL;
}

static PyObject *
convert(void *data)
{
    (void)data;
    return PyLong_FromLong(42);
}

static void
nothing(rsloop_future *future, void *data)
{
    (void)future;
    (void)data;
}

static const rsloop_future_ops ops = {.convert = convert, .work = nothing};

static PyObject *
by_thread(PyObject *module, PyObject *unused)
{
    rsloop_future *future;
    PyObject *awaitable = rsloop_future_into_py(api, &ops, NULL, &future);

    (void)module;
    (void)unused;
    if (awaitable == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (queued == QUEUE_MAX) {
        pthread_mutex_unlock(&lock);
        rsloop_future_release(future);
        return awaitable;
    }
    queue[queued++] = future;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
    return awaitable;
}

static PyObject *
by_pool(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return rsloop_blocking_into_py(api, &ops, NULL);
}

static PyMethodDef methods[] = {
    {"by_thread", by_thread, METH_NOARGS, NULL},
    {"by_pool", by_pool, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "native_completions",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_native_completions(void)
{
    pthread_t thread;

    api = rsloop_import();
    if (api == NULL || pthread_create(&thread, NULL, answer, NULL) != 0) {
        return NULL;
    }
    pthread_detach(thread);
    return PyModule_Create(&module_def);
}
