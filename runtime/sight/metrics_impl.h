/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_impl.h - the inside of an endpoint.
 *
 * Role:    one epoll set of the endpoint's own, nested in the runtime thread's,
 *          so that removing one watch stops everything.
 * Thread:  the runtime thread, from open to the removal of that watch.
 * Memory:  clients belong to the endpoint. */
#ifndef RSL_SIGHT_METRICS_IMPL_H
#define RSL_SIGHT_METRICS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include <rsl/rwatch.h>

#include "base/list.h"

enum {
    RSL_METRICS_CLIENTS = 16,   /* one more, and the oldest one goes */
    RSL_METRICS_REQUEST = 4096, /* bytes of a request's head at most */
    RSL_METRICS_DRAIN = 65536,  /* bytes after it that are waited for */
};

/* So long a client may take in all. */
#define RSL_METRICS_CLIENT_NS INT64_C(10000000000)

/*            request is whole       all is sent
 *  READING ------------------> WRITING ---------> DRAINING --> gone
 *  (its end, an error, or too much time: gone, from every state)
 *  DRAINING: closing with input unread would reset the connection, and the peer
 *  could lose the answer. */
typedef enum metrics_state {
    METRICS_READING,
    METRICS_WRITING,
    METRICS_DRAINING,
} metrics_state;

typedef struct rsl_metrics rsl_metrics;

typedef struct metrics_client {
    rsl_list link; /* oldest first */
    rsl_metrics *metrics;
    int fd;
    metrics_state state;
    int64_t deadline_ns;
    size_t request_len, drained;
    char *answer;
    size_t answer_len, answer_sent;
    char request[RSL_METRICS_REQUEST];
} metrics_client;

struct rsl_metrics {
    rsl_rwatch watch; /* first; its fd is the set */
    rsl_runtime *rt;
    rsl_list link; /* in rt->metrics */
    uint64_t name;
    int listen_fd, timer_fd;
    bool timer_runs, accept_paused;
    rsl_list clients;
    unsigned client_count;
};

/* Adopts `fd`. Without memory it is closed. */
void metrics_client_open(rsl_metrics *metrics, int fd, int64_t now_ns);
void metrics_client_close(metrics_client *client);

/* Go on where that is possible. May close it. */
void metrics_client_ready(metrics_client *client);

/* Watch `fd` of the endpoint; `ptr` tells what it is. 0, or an errno. */
int
metrics_set(rsl_metrics *metrics, int op, int fd, uint32_t events, void *ptr);

#endif
