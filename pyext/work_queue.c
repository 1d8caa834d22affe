/* SPDX-License-Identifier: Apache-2.0 */
/* work_queue.c - the queue between an executor and its workers.
 *
 * It stands where ThreadPoolExecutor has a queue.SimpleQueue, and takes what
 * that class puts there: its own items, and None for the end. Beside these it
 * takes WorkItems, which a worker runs in C. A worker that finds nothing tells
 * the loop of its last job and sleeps, in this order and without the GIL: so
 * the loop that wakes finds the GIL free.
 *
 * The mutex is held for a few instructions, and nobody who has it awaits the
 * GIL. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include <rsl/looks.h>

#include "work.h"

/* Before a sleep a worker looks for a job for a moment while that pays
 * (rsl/looks.h). Of several workers one looks. */
enum { LOOK_NS_MAX = 10000000 };

/* A worker that sleeps, on its stack. */
typedef struct queue_sleeper {
    struct queue_sleeper *next;
    sem_t wake;
    bool looks; /* before it sleeps */
    bool found; /* and then need not sleep */
    int64_t spent_ns;
} queue_sleeper;

/* All but the constants is guarded by `lock`. */
struct WorkQueueObject {
    PyObject_HEAD
    module_state *st;      /* [K] */
    PyObject *submit;      /* [K] ThreadPoolExecutor.submit, or None */
    PyObject *submit_code; /* [K] its code, or NULL */
    pthread_mutex_t lock;
    PyObject **ring; /* `cap` places, a power of two, or NULL */
    size_t head, count, cap;
    queue_sleeper *sleepers; /* the latest first: its memory is in the cache */
    size_t coming;   /* workers that were woken or started and have not come */
    bool closed;     /* None was put: nothing may follow it */
    bool staffed;    /* there are as many workers as there may be */
    bool looking;    /* one of the sleepers looks, or has looked in vain */
    rsl_looks looks; /* its limit is [K] */
};

enum { QUEUE_CAP_MIN = 16 };

static int
queue_grow(WorkQueueObject *self)
{
    size_t cap = self->cap == 0 ? QUEUE_CAP_MIN : self->cap * 2;
    PyObject **ring = PyMem_RawMalloc(cap * sizeof(*ring));
    if (ring == NULL) {
        return -1;
    }
    for (size_t i = 0; i < self->count; i++) {
        ring[i] = self->ring[(self->head + i) & (self->cap - 1)];
    }
    PyMem_RawFree(self->ring);
    self->ring = ring;
    self->head = 0;
    self->cap = cap;
    return 0;
}

/* Under the lock. NULL when there is nothing; else the queue's reference. */
static PyObject *
queue_pop(WorkQueueObject *self)
{
    if (self->count == 0) {
        return NULL;
    }
    PyObject *item = self->ring[self->head];
    self->head = (self->head + 1) & (self->cap - 1);
    self->count--;
    return item;
}

/* Under the lock. -1 without an exception. */
static int
queue_push(WorkQueueObject *self, PyObject *item)
{
    if (self->count == self->cap && queue_grow(self) < 0) {
        return -1;
    }
    self->ring[(self->head + self->count) & (self->cap - 1)] = Py_NewRef(item);
    self->count++;
    return 0;
}

/* Under the lock: the worker that is to be woken, or NULL. */
static queue_sleeper *
queue_pick_sleeper(WorkQueueObject *self)
{
    queue_sleeper *sleeper = self->sleepers;
    if (sleeper != NULL) {
        self->sleepers = sleeper->next;
        self->coming++;
    }
    return sleeper;
}

int
pyrsl_work_queue_put(WorkQueueObject *self, PyObject *item,
                     bool *short_of_workers)
{
    queue_sleeper *sleeper = NULL;
    pthread_mutex_lock(&self->lock);
    bool refused = self->closed && item != Py_None;
    int status = refused ? 0 : queue_push(self, item);
    if (!refused && status == 0) {
        status = 1;
        sleeper = queue_pick_sleeper(self);
        self->closed = self->closed || item == Py_None;
    }
    *short_of_workers = self->count > self->coming && !self->staffed;
    pthread_mutex_unlock(&self->lock);
    if (sleeper != NULL) {
        sem_post(&sleeper->wake);
    }
    if (status < 0) {
        PyErr_NoMemory();
    }
    return status;
}

int
pyrsl_work_queue_accepts(WorkQueueObject *self, PyObject *executor)
{
    if (self->submit == Py_None) {
        return 0;
    }
    PyObject *method = PyObject_GetAttr(executor, self->st->str_submit);
    if (method == NULL) {
        return -1;
    }
    /* Tracers replace the function, or what it does. */
    bool same = PyMethod_Check(method)
                && PyMethod_GET_FUNCTION(method) == self->submit
                && PyFunction_GET_CODE(self->submit) == self->submit_code;
    Py_DECREF(method);
    return same;
}

/* --- The workers' side --- */

static bool
queue_look(queue_sleeper *sleeper, int64_t start_ns, int64_t look_ns)
{
    bool found;
    do {
        found = sem_trywait(&sleeper->wake) == 0;
        sleeper->spent_ns = rsl_clock_now_ns() - start_ns;
    } while (!found && sleeper->spent_ns < look_ns);
    return found;
}

/* Sleeps until somebody has put something; before that `done` is posted. */
static void
queue_sleep(queue_sleeper *sleeper, WorkItemObject *done, int64_t look_ns)
{
    Py_BEGIN_ALLOW_THREADS
    pyrsl_work_item_post(done);
    int64_t start_ns = rsl_clock_now_ns();
    sleeper->found = sleeper->looks && queue_look(sleeper, start_ns, look_ns);
    if (!sleeper->found) {
        while (sem_wait(&sleeper->wake) != 0 && errno == EINTR) {
        }
    }
    if (!sleeper->looks) {
        sleeper->spent_ns = rsl_clock_now_ns() - start_ns;
    }
    Py_END_ALLOW_THREADS
}

/* Under the lock. */
static void
queue_lie_down(WorkQueueObject *self, queue_sleeper *sleeper)
{
    sem_init(&sleeper->wake, 0, 0);
    sleeper->looks = !self->looking && rsl_looks_pay(&self->looks);
    self->looking = self->looking || sleeper->looks;
    sleeper->next = self->sleepers;
    self->sleepers = sleeper;
}

/* Under the lock. */
static void
queue_get_up(WorkQueueObject *self, queue_sleeper *sleeper)
{
    sem_destroy(&sleeper->wake);
    self->coming--;
    if (sleeper->looks) {
        self->looking = false;
        rsl_looks_looked(&self->looks, sleeper->found, sleeper->spent_ns);
    } else {
        rsl_looks_slept(&self->looks, sleeper->spent_ns);
    }
}

/* Also where the queue is never empty others get the GIL, as between two
 * instructions of Python. */
static void
queue_post(WorkItemObject *done)
{
    if (done != NULL) {
        Py_BEGIN_ALLOW_THREADS
        pyrsl_work_item_post(done);
        Py_END_ALLOW_THREADS
    }
}

/* The next item, a new reference; `done` is posted meanwhile. */
static PyObject *
queue_take(WorkQueueObject *self, WorkItemObject *done)
{
    for (;;) {
        queue_sleeper sleeper;
        pthread_mutex_lock(&self->lock);
        PyObject *item = queue_pop(self);
        if (item == NULL) {
            queue_lie_down(self, &sleeper);
        }
        pthread_mutex_unlock(&self->lock);
        if (item != NULL) {
            queue_post(done);
            return item;
        }
        queue_sleep(&sleeper, done, self->looks.limit_ns);
        done = NULL;
        pthread_mutex_lock(&self->lock);
        queue_get_up(self, &sleeper);
        pthread_mutex_unlock(&self->lock);
    }
}

PyDoc_STRVAR(queue_serve_doc,
"serve($self, /)\n--\n\n"
"Run jobs, and sleep while there are none, until something else comes.\n"
"Returns that: an item of ThreadPoolExecutor, or None.");

static PyObject *
queue_serve(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    WorkItemObject *done = NULL;
    for (;;) {
        PyObject *item = queue_take(self, done);
        if (!Py_IS_TYPE(item, self->st->WorkItemType)) {
            return item;
        }
        done = pyrsl_work_item_run((WorkItemObject *)item);
    }
}

PyDoc_STRVAR(queue_expect_worker_doc,
"expect_worker($self, /)\n--\n\n"
"Is another worker wanted? If so, one is counted on from now on.");

static PyObject *
queue_expect_worker(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_lock(&self->lock);
    bool wanted = self->count > self->coming;
    self->coming += wanted;
    pthread_mutex_unlock(&self->lock);
    return PyBool_FromLong(wanted);
}

PyDoc_STRVAR(queue_worker_came_doc,
"worker_came($self, /)\n--\n\n"
"The expected worker has started, or never will.");

static PyObject *
queue_worker_came(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_lock(&self->lock);
    self->coming -= self->coming > 0;
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(queue_set_staffed_doc,
"set_staffed($self, /)\n--\n\n"
"There are as many workers as there may be.");

static PyObject *
queue_set_staffed(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_lock(&self->lock);
    self->staffed = true;
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_NONE;
}

/* --- What queue.SimpleQueue has --- */

PyDoc_STRVAR(queue_put_doc,
"put($self, item, /)\n--\n\n"
"Append an item of ThreadPoolExecutor, or None: the end.");

static PyObject *
queue_put(WorkQueueObject *self, PyObject *item)
{
    bool unused;
    int status = pyrsl_work_queue_put(self, item, &unused);
    if (status == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot schedule new futures after shutdown");
    }
    return status <= 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(queue_get_nowait_doc,
"get_nowait($self, /)\n--\n\n"
"Take the first item; queue.Empty when there is none.");

static PyObject *
queue_get_nowait(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_lock(&self->lock);
    PyObject *item = queue_pop(self);
    pthread_mutex_unlock(&self->lock);
    if (item == NULL) {
        PyErr_SetNone(self->st->queue_Empty);
    }
    return item;
}

static size_t
queue_count(WorkQueueObject *self)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->count;
    pthread_mutex_unlock(&self->lock);
    return count;
}

PyDoc_STRVAR(queue_qsize_doc,
"qsize($self, /)\n--\n\n"
"How many items wait for a worker.");

static PyObject *
queue_qsize(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(queue_count(self));
}

PyDoc_STRVAR(queue_empty_doc,
"empty($self, /)\n--\n\n"
"Does nothing wait for a worker?");

static PyObject *
queue_empty(WorkQueueObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(queue_count(self) == 0);
}

/* --- The type --- */

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", NULL};
    PyObject *submit;
    long long look_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OL:WorkQueue", names,
                                     &submit, &look_ns)) {
        return NULL;
    }
    if (look_ns < 0 || look_ns > LOOK_NS_MAX) {
        PyErr_SetString(PyExc_ValueError, "look_ns is out of range");
        return NULL;
    }
    if (submit != Py_None && !PyFunction_Check(submit)) {
        PyErr_SetString(PyExc_TypeError, "submit must be a function or None");
        return NULL;
    }
    module_state *st = pyrsl_state_of_type(type);
    if (st == NULL) {
        return NULL;
    }
    WorkQueueObject *self = (WorkQueueObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    self->submit = Py_NewRef(submit);
    self->looks.limit_ns = look_ns;
    if (submit != Py_None) {
        self->submit_code = Py_NewRef(PyFunction_GET_CODE(submit));
    }
    pthread_mutex_init(&self->lock, NULL);
    return (PyObject *)self;
}

static int
queue_traverse(WorkQueueObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->submit);
    Py_VISIT(self->submit_code);
    for (size_t i = 0; i < self->count; i++) {
        Py_VISIT(self->ring[(self->head + i) & (self->cap - 1)]);
    }
    return 0;
}

static int
queue_clear(WorkQueueObject *self)
{
    PyObject *item;
    do {
        pthread_mutex_lock(&self->lock);
        item = queue_pop(self);
        pthread_mutex_unlock(&self->lock);
        Py_XDECREF(item);
    } while (item != NULL);
    return 0;
}

static void
queue_dealloc(WorkQueueObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)queue_clear(self);
    Py_XDECREF(self->submit);
    Py_XDECREF(self->submit_code);
    PyMem_RawFree(self->ring);
    pthread_mutex_destroy(&self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

#define NOARGS(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))function, METH_NOARGS, doc}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_O, queue_put_doc},
    NOARGS("get_nowait", queue_get_nowait, queue_get_nowait_doc),
    NOARGS("qsize", queue_qsize, queue_qsize_doc),
    NOARGS("empty", queue_empty, queue_empty_doc),
    NOARGS("serve", queue_serve, queue_serve_doc),
    NOARGS("expect_worker", queue_expect_worker, queue_expect_worker_doc),
    NOARGS("worker_came", queue_worker_came, queue_worker_came_doc),
    NOARGS("set_staffed", queue_set_staffed, queue_set_staffed_doc),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "WorkQueue(submit, look_ns, /)\n--\n\n"
                "An executor's queue. submit is ThreadPoolExecutor's, or None "
                "where it must be called;\n"
                "look_ns how long a worker may look for a job before it "
                "sleeps."},
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "rsloop_c._core.WorkQueue",
    .basicsize = sizeof(WorkQueueObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};

int
pyrsl_work_types(PyObject *module, module_state *st)
{
    st->WorkItemType = pyrsl_work_item_type(module);
    st->WorkQueueType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &queue_spec, NULL);
    return st->WorkItemType == NULL || st->WorkQueueType == NULL
                   || PyModule_AddType(module, st->WorkQueueType) < 0
               ? -1
               : 0;
}
