/* SPDX-License-Identifier: Apache-2.0 */
/* dgram.h - one datagram socket (UDP or unix).
 *
 * Role:    says when a message can be taken or given, and moves one at a time.
 *          Keeps no queue: a message is whole, or it stays with its owner.
 * Thread:  loop thread. The runtime thread never reads datagrams.
 * Memory:  valid from rsl_dgram_open() to rsl_dgram_close(); the fd stays the
 *          caller's. */
#ifndef RSL_DGRAM_H
#define RSL_DGRAM_H

#include <stddef.h>
#include <stdint.h>

#include <rsl/addr.h>
#include <rsl/conn.h>
#include <rsl/watch.h>

typedef struct rsl_dgram rsl_dgram;

/* A message that is received: `cap` bytes of room at `buf`, lent for the call,
 * then its size (0 is one too) and its sender, whose length may be 0. */
typedef struct rsl_datagram {
    void *buf;
    size_t cap;
    size_t len;
    rsl_addr from;
} rsl_datagram;

/* Know borrowed, non-blocking `fd` on behalf of `owner`. Nothing is wanted. */
rsl_status
rsl_dgram_open(rsl_runtime *rt, int fd, void *owner, rsl_dgram **out);

uint64_t rsl_dgram_id(const rsl_dgram *dgram);
void *rsl_dgram_owner(const rsl_dgram *dgram);

/* The open dgram with this id, or NULL when it has been closed. */
rsl_dgram *rsl_dgram_find(rsl_runtime *rt, uint64_t id);

/* Want readiness for `mask` of RSL_WATCH_*, replacing what was wanted. Reported
 * as RSL_EV_DGRAM with the mask that came true, once a turn for as long as it
 * is true and wanted; what is wanted no more may still be reported once. */
rsl_status rsl_dgram_want(rsl_dgram *dgram, unsigned mask, rsl_err *err);

/* Take the next message: RSL_OK, RSL_AGAIN when there is none, or RSL_OS. What
 * does not fit is lost, as with recvfrom(). */
rsl_status
rsl_dgram_recv(rsl_dgram *dgram, rsl_datagram *message, rsl_err *err);

/* Give a message to `to`, or to the connected peer for NULL: RSL_OK, RSL_AGAIN
 * (the system has no room), or RSL_OS. */
rsl_status rsl_dgram_send(rsl_dgram *dgram, const void *data, size_t len,
                          const rsl_addr *to, rsl_err *err);

/* Stop for good. The kernel holds no reference to the fd on return, so that a
 * close() by the caller really frees its address. */
void rsl_dgram_close(rsl_dgram *dgram);

#endif
