/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - run_in_executor() on the default executor.
 *
 * Role:    a job goes from the loop to a worker thread of the executor and its
 *          outcome back, without a concurrent.futures.Future between them.
 *          python/rsloop_c/_executor.py has the executor itself: asyncio's
 *          ThreadPoolExecutor with our queue in it.
 * Thread:  jobs are queued by any thread, run by workers and settled by the
 *          loop thread.
 * Memory:  ordinary GC objects; a job on its way owns its loop and future. */
#ifndef PYRSL_WORK_H
#define PYRSL_WORK_H

#include "loop.h"

typedef struct WorkItemObject {
    PyObject_HEAD
    LoopObject *loop;
    PyObject *future;  /* asyncio's */
    PyObject *func;    /* NULL once it runs, as are the arguments */
    PyObject *args;    /* a tuple */
    PyObject *outcome; /* the result or the exception, once it has run */
    bool failed;       /* the outcome is an exception */
    rsl_msg msg;       /* has a reference to the item from push to take */
} WorkItemObject;

/* work_item.c */

PyTypeObject *pyrsl_work_item_type(PyObject *module);

/* func(*args), whose outcome `future` gets; all borrowed. */
PyObject *pyrsl_work_item_new(LoopObject *loop, PyObject *future,
                              PyObject *const *call, Py_ssize_t count);

/* Run the job on the calling thread. Takes `item`; returns it when it is to be
 * posted, counted among the loop's posters, else NULL. */
WorkItemObject *pyrsl_work_item_run(WorkItemObject *item);

/* Send what pyrsl_work_item_run() returned (or NULL) to its loop. Needs no
 * GIL. */
void pyrsl_work_item_post(WorkItemObject *item);

/* Takes a PYRSL_MSG_WORK message: the future gets the outcome. Loop thread. */
void pyrsl_work_item_settle(rsl_msg *msg);

/* Wait until no worker is posting to the closed loop any more. */
void pyrsl_work_wait_for_posters(LoopObject *loop);

static inline PyObject *
pyrsl_work_item_of(rsl_msg *msg)
{
    return (PyObject *)(void *)((char *)msg - offsetof(WorkItemObject, msg));
}

/* work_queue.c */

typedef struct WorkQueueObject WorkQueueObject;

/* Make both types; -1 with an exception. */
int pyrsl_work_types(PyObject *module, module_state *st);

/* Would executor.submit() do what ThreadPoolExecutor.submit() did when the
 * queue was made, and may jobs still be queued? -1 with an exception. */
int pyrsl_work_queue_accepts(WorkQueueObject *self, PyObject *executor);

/* Append `item`, borrowed: 1, 0 when the queue has been closed meanwhile, -1
 * with MemoryError. `*short_of_workers`: another one ought to be started. */
int pyrsl_work_queue_put(WorkQueueObject *self, PyObject *item,
                         bool *short_of_workers);

/* loop_executor.c */
extern PyMethodDef pyrsl_loop_executor_methods[];

#endif
