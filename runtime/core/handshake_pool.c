/* SPDX-License-Identifier: Apache-2.0 */
/* handshake_pool.c - steps of handshakes as jobs of a pool of their own.
 *
 * A step never waits for anything, so closing a runtime waits for those that
 * run (core/job.c), and an engine is always given back in one piece. */
#include <stdlib.h>

#include <rsl/handshake.h>

#include "core/job.h"
#include "core/runtime_impl.h"

typedef struct handshake_step {
    rsl_msg msg; /* first */
    rsl_job job;
    rsl_tls *tls;
    rsl_tls_status status;
    int (*done)(void *object, rsl_tls_status status);
} handshake_step;

static void
handshake_run(rsl_job *job)
{
    handshake_step *step = RSL_LIST_ENTRY(job, handshake_step, job);

    step->status = rsl_tls_handshake(step->tls);
}

static void
handshake_free(rsl_job *job)
{
    free(RSL_LIST_ENTRY(job, handshake_step, job));
}

static void
handshake_discard(rsl_msg *msg)
{
    rsl_job_discard(&((handshake_step *)(void *)msg)->job);
}

rsl_status
rsl_handshake_post(rsl_runtime *rt, rsl_tls *tls, rsl_handshake_owner owner,
                   rsl_err *err)
{
    handshake_step *step = calloc(1, sizeof *step);
    rsl_status status;

    if (step == NULL) {
        return RSL_NOMEM;
    }
    step->msg.event.tag = rsl_tag(RSL_EV_MESSAGE, RSL_MSG_HANDSHAKE);
    step->msg.event.u.ptr = &step->msg;
    step->msg.discard = handshake_discard;
    step->tls = tls;
    step->done = owner.done;
    rsl_job_init(&step->job);
    step->job.msg = &step->msg;
    step->job.run = handshake_run;
    step->job.free = handshake_free;
    step->job.owner = (rsl_job_owner){owner.object, owner.abandon};
    status = rsl_job_start(rt, &rt->handshakes, &rsl_pool_of_handshakes,
                           &step->job, err);
    rsl_stat_add(&rt->stats, RSL_STAT_TLS_JOBS, status == RSL_OK);
    return status;
}

int
rsl_handshake_deliver(rsl_msg *msg)
{
    handshake_step *step = (handshake_step *)(void *)msg;
    int (*done)(void *object, rsl_tls_status status) = step->done;
    rsl_tls_status status = step->status;
    void *object = rsl_job_claim(&step->job);

    free(step);
    return object == NULL ? 0 : done(object, status);
}
