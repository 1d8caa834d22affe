/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - what a fallible runtime function can say.
 *
 * Role:    one code for every module; RSL_OS comes with an errno in the
 *          rsl_err that the function fills.
 * Thread:  values only.
 * Memory:  none. */
#ifndef RSL_STATUS_H
#define RSL_STATUS_H

typedef enum rsl_status {
    RSL_OK = 0,
    RSL_AGAIN,       /* nothing now: an event will say when to try again */
    RSL_EOF,         /* the peer has finished sending */
    RSL_NOMEM,       /* the allocator said no; nothing has changed */
    RSL_CLOSED,      /* the object was closed, or the id is stale */
    RSL_BUSY,        /* another thread holds the token */
    RSL_UNSUPPORTED, /* this kernel or this backend cannot do it */
    RSL_FORKED,      /* the object belongs to the parent of this process */
    RSL_TLS,         /* the conn's engine failed: see rsl_tls_last_error() */
    RSL_OS,          /* a system call failed: see rsl_err.code */
} rsl_status;

/* Detail of an RSL_OS status. */
typedef struct rsl_err {
    int code;         /* errno */
    const char *call; /* the system call that failed, a literal */
} rsl_err;

/* The status's name as a literal, for logs and tests. */
const char *rsl_status_name(rsl_status status);

#endif
